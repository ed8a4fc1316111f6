/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"io"
)

const (
	// mostRaw bounds the bytes read of a body that is shortened, as a multiple of the limit.
	mostRaw = 8
	// longText is the length to which strings are cut once the body takes most of the limit.
	longText = 1 << 10
)

// shortener cuts long strings of a JSON text. The agent itself may write a configuration that is longer than any that can
// be declared: cut, it still differs from the declared one, and the rest of the agent can be read. Else one such agent would
// hide all others in a list, and could never be deleted.
type shortener struct {
	most, total int // bytes to keep of one string, and in total
	kept        int // in total so far
	length      int // of this string so far
	pending     int // hexadecimal digits of an escape still to come
	escape      bool
	inside      bool
	dropping    bool
}

// filter moves the kept bytes to the front, and returns their number.
func (s *shortener) filter(text []byte) int {
	n := 0
	for _, b := range text {
		if s.keeps(b) {
			text[n] = b
			n++
			s.kept++
		}
	}
	return n
}

func (s *shortener) keeps(b byte) bool {
	switch {
	case !s.inside:
		s.inside, s.length = b == '"', 0
		return true
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
		s.dropping = s.dropping || s.length >= s.most || s.kept >= s.total && s.length >= longText
		s.escape = b == '\\'
	}
	s.length++
	return !s.dropping
}

// shorten reads the rest of a body that exceeded the limit, with its long strings cut.
func shorten(buffer *bytes.Buffer, body io.Reader, limit int64) error {
	s := &shortener{most: int(limit / 3 * 2), total: int(limit / 3 * 2)}
	raw := int64(buffer.Len())
	buffer.Truncate(s.filter(buffer.Bytes()))
	chunk := make([]byte, 64<<10)
	for {
		if int64(buffer.Len()) > limit || raw > mostRaw*limit {
			return ErrTooLarge
		}
		n, err := body.Read(chunk)
		raw += int64(n)
		buffer.Write(chunk[:s.filter(chunk[:n])])
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
