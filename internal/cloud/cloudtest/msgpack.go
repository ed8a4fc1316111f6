/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"encoding/binary"
	"errors"
)

var errMessagePack = errors.New("it is no MessagePack map of strings")

// UnpackStrings reads a MessagePack map of strings, and returns what follows it. It is independent of the operator's code,
// so that the two check each other.
func UnpackStrings(raw []byte) (content map[string]string, rest []byte, err error) {
	if len(raw) == 0 || raw[0]&0xf0 != 0x80 {
		return nil, nil, errMessagePack
	}
	content, rest = map[string]string{}, raw[1:]
	for range raw[0] & 0x0f {
		var key, value string
		if key, rest, err = unpackString(rest); err != nil {
			return nil, nil, err
		}
		if value, rest, err = unpackString(rest); err != nil {
			return nil, nil, err
		}
		content[key] = value
	}
	return content, rest, nil
}

func unpackString(raw []byte) (text string, rest []byte, err error) {
	if len(raw) == 0 {
		return "", nil, errMessagePack
	}
	size := map[byte]int{0xd9: 1, 0xda: 2, 0xdb: 4}[raw[0]] // bytes of the length
	if raw[0]&0xe0 != 0xa0 && size == 0 || len(raw) < 1+size {
		return "", nil, errMessagePack
	}
	length := uint64(raw[0] & 0x1f)
	if size > 0 {
		var padded [8]byte
		copy(padded[8-size:], raw[1:1+size])
		length = binary.BigEndian.Uint64(padded[:])
	}
	if rest = raw[1+size:]; uint64(len(rest)) < length {
		return "", nil, errMessagePack
	}
	return string(rest[:length]), rest[length:], nil
}
