package azure

import (
	"strconv"
	"strings"
)

// Value is what a claim is compared with: a string, or the canonical text of a
// boolean or number, since published policies say "false" and "0" where tokens say
// false and 0. Canonical is true, false, and the shortest decimal: no sign before 0,
// no zeros in front or at the end of a fraction.
type Value struct {
	Text string
	kind byte   // of JSON: '"', '0', 't' or 'f'
	raw  string // as it was written
}

// integer says whether text is the canonical one of an integer that a claim can be;
// claims know no other numbers. Any other spelling ("01", "1.0", "+1") is only text.
func integer(text string) bool {
	i, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		return strconv.FormatInt(i, 10) == text
	}
	u, err := strconv.ParseUint(text, 10, 64)
	return err == nil && strconv.FormatUint(u, 10) == text
}

// maxNumber is the longest number, in bytes, with its sign and point.
const maxNumber = 40

// ordered says whether text is a number that less and greater can compare exactly.
func ordered(text string) bool {
	return decimal(text) && len(text) <= maxNumber
}

// decimal says whether text is a JSON number without exponent.
func decimal(text string) bool {
	whole, fraction, dotted := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	return digits(whole) && (whole == "0" || whole[0] != '0') && (!dotted || digits(fraction))
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// canonical gives the shortest decimal of a number without exponent.
func canonical(number string) string {
	if strings.Contains(number, ".") {
		number = strings.TrimSuffix(strings.TrimRight(number, "0"), ".")
	}
	if number == "-0" {
		return "0"
	}
	return number
}
