package cse

import "encoding/binary"

// counting is how an SDK writes the number of a region, from 0, as its nonce.
type counting func(region uint64) [nonceSize]byte

// countings are those of the SDKs for Python (also ours), Java and .NET. They share one
// space of values, so a blob has one of them throughout: else a region could stand where
// another SDK's counter has the same bytes.
func countings() []counting {
	return []counting{countPython, countJava, countNET}
}

// countPython is big-endian in all of the nonce.
func countPython(region uint64) (n [nonceSize]byte) {
	binary.BigEndian.PutUint64(n[4:], region)
	return n
}

// countJava is big-endian in the first 8 bytes.
func countJava(region uint64) (n [nonceSize]byte) {
	binary.BigEndian.PutUint64(n[:], region)
	return n
}

// countNET counts from 1, little-endian in the last 8 bytes.
func countNET(region uint64) (n [nonceSize]byte) {
	binary.LittleEndian.PutUint64(n[4:], region+1)
	return n
}

// sequence follows the nonces of a blob.
type sequence struct {
	possible []counting
	next     uint64
}

func newSequence() *sequence { return &sequence{possible: countings()} }

// follows says whether nonce is that of the next region.
func (s *sequence) follows(nonce []byte) bool {
	left := s.possible[:0]
	for _, c := range s.possible {
		if c(s.next) == [nonceSize]byte(nonce) {
			left = append(left, c)
		}
	}
	s.possible = left
	s.next++
	return len(left) > 0
}
