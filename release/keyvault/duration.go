package keyvault

import (
	"strings"
	"time"

	"github.com/openskr/openskr/release"
)

// Duration is a span of the calendar, as ISO 8601 writes those of whole days:
// P2Y, P18M, P90D, P1Y6M, or weeks alone, P4W. The zero value is none.
type Duration struct {
	text                string
	years, months, days int
}

// maxDuration bounds one, in years.
const maxDuration = 100

// ParseDuration reads one. There is one reading: no sign, no fraction, no leading
// zero, no part that is zero, no time of day, and no unit twice or out of order.
func ParseDuration(s string) (Duration, error) {
	refused := release.Refuse(release.ReasonBadRequest, "duration %.32q: want whole years, months, weeks or days like P2Y, P18M, P90D, of at most %d years", s, maxDuration)
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" {
		return Duration{}, refused
	}
	d, units := Duration{text: s}, "YMWD"
	for rest != "" {
		n, digits := 0, 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			n = min(n*10+int(rest[digits]-'0'), maxDuration*1000)
			digits++
		}
		if digits == 0 || digits == len(rest) || rest[0] == '0' {
			return Duration{}, refused
		}
		unit := rest[digits]
		_, left, known := strings.Cut(units, string(unit))
		if !known || unit == 'W' && (len(units) != len("YMWD") || len(rest) != digits+1) {
			return Duration{}, refused
		}
		units, rest = left, rest[digits+1:]
		switch unit {
		case 'Y':
			d.years = n
		case 'M':
			d.months = n
		case 'W':
			d.days = 7 * n
		case 'D':
			d.days = n
		}
	}
	if d.atMost() > maxDuration*366 {
		return Duration{}, refused
	}
	return d, nil
}

// String is the text that it was read from, "" for none.
func (d Duration) String() string { return d.text }

// IsZero says that there is none.
func (d Duration) IsZero() bool { return d.text == "" }

// after is the moment that lies d after t, both in Unix seconds.
func (d Duration) after(t int64) int64 {
	return time.Unix(t, 0).UTC().AddDate(d.years, d.months, d.days).Unix()
}

// before is the moment that lies d before t.
func (d Duration) before(t int64) int64 {
	return time.Unix(t, 0).UTC().AddDate(-d.years, -d.months, -d.days).Unix()
}

// atLeast and atMost are its bounds in days: years and months differ in length.
func (d Duration) atLeast() int { return 365*d.years + 28*d.months + d.days }
func (d Duration) atMost() int  { return 366*d.years + 31*d.months + d.days }
