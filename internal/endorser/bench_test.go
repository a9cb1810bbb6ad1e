package endorser_test

import (
	"testing"
	"time"

	"github.com/openskr/openskr/internal/endorser"
)

// What a release on the warm path pays for a document, with a thousand chips held.
func BenchmarkWarm(b *testing.B) {
	e, err := endorser.New(endorser.Config{Inspect: inspect, Offline: true})
	if err != nil {
		b.Fatal(err)
	}
	doc := documentOf(1, time.Now(), 100*month)
	for n := range 1000 {
		if _, _, err := e.Import(chip(n), doc); err != nil {
			b.Fatal(err)
		}
	}
	need := chip(500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Endorse(b.Context(), need); err != nil {
			b.Fatal(err)
		}
	}
}
