/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import "encoding/binary"

// The part of MessagePack that a session needs: a map of strings. The input may come from an attacker who can write Secrets,
// and general libraries allocate the claimed length before they notice that the bytes are missing.

// appendMap encodes up to 15 pairs of a key and a value.
func appendMap(to []byte, pairs ...string) []byte {
	to = append(to, 0x80|byte(len(pairs)/2))
	for _, text := range pairs {
		switch n := len(text); {
		case n < 1<<5:
			to = append(to, 0xa0|byte(n))
		case n < 1<<8:
			to = append(to, 0xd9, byte(n))
		case n < 1<<16:
			to = binary.BigEndian.AppendUint16(append(to, 0xda), uint16(n))
		default:
			to = binary.BigEndian.AppendUint32(append(to, 0xdb), uint32(n))
		}
		to = append(to, text...)
	}
	return to
}

// readMap decodes a map of strings; nil if it is anything else. It takes no more memory than its input.
func readMap(from []byte) map[string]string {
	pairs, from, ok := readLength(from, 0x80, 0x0f, 0, 0xde, 0xdf)
	if !ok || pairs > len(from)/2 { // A pair has two bytes at least.
		return nil
	}
	read := map[string]string{}
	for range pairs {
		var pair [2]string
		for i := range pair {
			var n int
			if n, from, ok = readLength(from, 0xa0, 0x1f, 0xd9, 0xda, 0xdb); !ok || n < 0 || n > len(from) { // Below zero: where an int has 32 bits.
				return nil
			}
			pair[i], from = string(from[:n]), from[n:]
		}
		read[pair[0]] = pair[1]
	}
	return read
}

// readLength reads the head of a value: within the first byte, which has the bits of fixed outside of mask, or in the
// one, two or four bytes after it.
func readLength(from []byte, fixed, mask, one, two, four byte) (n int, rest []byte, ok bool) {
	if len(from) == 0 {
		return 0, nil, false
	}
	head, rest := from[0], from[1:]
	switch {
	case head&^mask == fixed:
		return int(head & mask), rest, true
	case head == one && one != 0 && len(rest) >= 1:
		return int(rest[0]), rest[1:], true
	case head == two && len(rest) >= 2:
		return int(binary.BigEndian.Uint16(rest)), rest[2:], true
	case head == four && len(rest) >= 4:
		return int(binary.BigEndian.Uint32(rest)), rest[4:], true
	}
	return 0, nil, false
}
