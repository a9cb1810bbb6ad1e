package keyvault_test

import (
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

func TestParseDuration(t *testing.T) {
	for _, s := range []string{"P1Y", "P18M", "P90D", "P4W", "P1Y6M", "P1Y2M3D", "P1M1D", "P100Y", "P36500D"} {
		d, err := keyvault.ParseDuration(s)
		if err != nil || d.String() != s || d.IsZero() {
			t.Errorf("%s: %v, %v", s, d, err)
		}
	}
	for _, s := range []string{
		"", "P", "90D", "p90d", "P90d", "P-1D", "+P1D", "-P1D", "P+1D", "P0D", "P01D", "P1", "PD", "P1.5D", "P1,5D", "P1H", "PT1H", "P1DT1H", "P1D1Y",
		"P1Y1Y", "P1W1D", "P1Y1W", "P1W1W", " P1D", "P1D ", "P1D\n", "P٣D", "P101Y", "P99Y999M", "P99999D", "P18446744073709551617D", "P" + strings.Repeat("9", 400) + "D",
	} {
		d, err := keyvault.ParseDuration(s)
		if release.ReasonOf(err) != release.ReasonBadRequest || !d.IsZero() {
			t.Errorf("%q: %v, %v", s, d, err)
		}
	}
}

// FuzzParseDuration: what is read is written back as it was, and means a time ahead.
func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"P1Y", "P18M", "P90D", "P4W", "P1Y2M3D", "PT1H", "P1D1Y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := keyvault.ParseDuration(s)
		switch {
		case err != nil && (release.ReasonOf(err) != release.ReasonBadRequest || !d.IsZero()):
			t.Fatalf("%q: %v, %v", s, d, err)
		case err == nil && (d.String() != s || !strings.HasPrefix(s, "P") || strings.Trim(s[1:], "0123456789YMWD") != ""):
			t.Fatalf("%q is read as %v", s, d)
		}
	})
}
