package identity

import (
	"testing"
)

// BenchmarkAuthenticate is what each request pays for its token: verified anew, and
// remembered. Principal and roles are read in both.
func BenchmarkAuthenticate(b *testing.B) {
	for _, remembered := range []bool{false, true} {
		b.Run(map[bool]string{false: "verified", true: "remembered"}[remembered], func(b *testing.B) {
			f := newFixture(b)
			tok := f.token(b)
			for b.Loop() {
				if !remembered {
					f.forget(b)
				}
				if _, err := f.Authenticate(b.Context(), tok); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func (f *fixture) forget(b *testing.B) {
	b.StopTimer()
	if err := f.Use(Trust{}); err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
}
