package policies

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean cuts s to limit bytes and escapes what does not print: a policy's words
// can hold claims, and claims can hold what an attacker put on a command line.
func clean(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		part := string(r)
		if r == utf8.RuneError || r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			part = strings.Trim(strconv.QuoteRuneToASCII(r), "'")
		}
		if b.Len()+len(part) > limit {
			return b.String()
		}
		b.WriteString(part)
	}
	return b.String()
}

func sortDiagnostics(ds []Diagnostic) {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
}
