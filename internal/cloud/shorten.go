/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"io"
	"math"
)

const (
	// mostRaw bounds the bytes read of a body that is shortened, as a multiple of the limit: three members of 16 MiB, with each
	// character escaped in six.
	mostRaw = 32
	// longText is the length to which values are cut once the body takes most of the limit.
	longText = 1 << 10
	// mostNested is the depth of what encoding/json reads.
	mostNested = 10_000
)

// tooLong replaces an array or object that is too long or too deep. It differs from all that can be declared.
const tooLong = `"too long"`

// shortener copies the JSON text of an agent, or of a list of agents, and shortens what is too long: strings are cut, and arrays and
// objects that are members of an agent are replaced, also where they are too deep. Whoever has the agent's token may write more than
// can be declared: shortened, it still differs from what is declared, and the rest of the agent can be read. Else one agent would hide
// all others in a list, and could never be deleted.
type shortener struct {
	out         *bytes.Buffer
	most, total int // bytes to keep of one string, and in total
	depth       int // of the open arrays and objects
	members     int // depth of an agent's members
	from        int // where in out the array or object begins that is a member's value
	length      int // of this string so far
	pending     int // hexadecimal digits of an escape still to come
	escape      bool
	inside      bool // a string
	dropping    bool // the rest of this string
	skipping    bool // the rest of this member's value
}

func newShortener(out *bytes.Buffer, limit int64, total int) *shortener {
	return &shortener{out: out, most: int(limit / 3 * 2), total: total}
}

// write copies the next part of the text. Never more is written than was read: out may share its memory.
func (s *shortener) write(text []byte) {
	for _, b := range text {
		if !s.keeps(b) {
			continue
		}
		s.out.WriteByte(b)
		if s.depth > s.members && s.tooLong() {
			s.out.Truncate(s.from)
			s.out.WriteString(tooLong)
			s.skipping = true
		}
	}
}

// tooLong reports whether the array or object that is being copied is too long or too deep.
func (s *shortener) tooLong() bool {
	length := s.out.Len() - s.from
	return length > s.most/4 || length > longText && s.out.Len() > s.total || s.depth > mostNested
}

func (s *shortener) keeps(b byte) bool {
	switch {
	case s.inside:
		return s.keepsInside(b) && !s.skipping
	case b == '"':
		s.inside, s.length = true, 0
	case b == '[', b == '{':
		s.open(b)
	case b == ']', b == '}':
		s.depth--
		if s.skipping && s.depth == s.members {
			s.skipping = false
			return false
		}
	}
	return !s.skipping
}

func (s *shortener) open(b byte) {
	if s.depth == 0 {
		s.members = 1
		if b == '[' {
			s.members = 2
		}
	}
	s.depth++
	if s.depth == s.members+1 {
		s.from = s.out.Len()
	}
}

// keepsInside reports whether a byte of a string is kept.
func (s *shortener) keepsInside(b byte) bool {
	switch {
	case s.escape:
		s.escape = false
		if b == 'u' {
			s.pending = 4
		}
	case s.pending > 0:
		s.pending--
	case b == '"':
		s.inside, s.dropping = false, false
		return true
	default:
		s.dropping = s.dropping || s.length >= s.most || s.out.Len() >= s.total && s.length >= longText
		s.escape = b == '\\'
	}
	s.length++
	return !s.dropping
}

// shorten reads the rest of a body that exceeded the limit, and shortens it.
func shorten(buffer *bytes.Buffer, body io.Reader, limit int64) error {
	begun := buffer.Bytes()
	raw := int64(len(begun))
	buffer.Reset()
	s := newShortener(buffer, limit, int(limit/3*2))
	s.write(begun)
	chunk := make([]byte, 64<<10)
	for {
		if int64(buffer.Len()) > limit || raw > mostRaw*limit {
			return ErrTooLarge
		}
		n, err := body.Read(chunk)
		raw += int64(n)
		s.write(chunk[:n])
		switch {
		case err == io.EOF && int64(buffer.Len()) <= limit:
			return nil
		case err == io.EOF:
			return ErrTooLarge
		case err != nil:
			return err
		}
	}
}

// shallow is a text without what is too deep for encoding/json. What can be declared is not changed.
func shallow(raw []byte) []byte {
	s := newShortener(&bytes.Buffer{}, defaultMaxBody, math.MaxInt)
	s.write(raw)
	return s.out.Bytes()
}
