package bench

import "testing"

// BenchmarkM runs the members one by one.
func BenchmarkM(b *testing.B) {
	for _, m := range TPM(30 << 10) {
		b.Run(m.Name, m.Bench)
	}
}
