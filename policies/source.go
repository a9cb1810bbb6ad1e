package policies

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// Bounds of a policy's text.
const (
	maxSource = 64 << 10
	maxDepth  = 32 // of brackets
)

// checkSource refuses text that a reader and the parser could see differently
// (Trojan Source), and text deep enough to hurt a recursive parser. It knows
// just enough of Rego to tell strings and comments from the rest.
func checkSource(src []byte) []Diagnostic {
	if len(src) > maxSource {
		return []Diagnostic{{Row: 1, Col: 1, Code: "policy_size", Message: "policy larger than 64 KiB"}}
	}
	s := scanner{row: 1, col: 1}
	for len(src) > 0 && len(s.found) < maxDiagnostics {
		r, n := utf8.DecodeRune(src)
		s.judge(r, n, src)
		if r == '\n' {
			s.row, s.col = s.row+1, 1
		} else {
			s.col += n // OPA counts columns in bytes too
		}
		src = src[n:]
	}
	return s.found
}

type scanner struct {
	in       rune // ' ' code, '#' comment, '"' string, '`' raw string
	escaped  bool
	depth    int
	row, col int
	found    []Diagnostic
}

func (s *scanner) bad(msg string) {
	s.found = append(s.found, Diagnostic{Row: s.row, Col: s.col, Code: "policy_text", Message: msg})
}

func (s *scanner) judge(r rune, n int, rest []byte) {
	switch {
	case r == utf8.RuneError && n <= 1:
		s.bad("invalid UTF-8")
	case r == '\r':
		s.bad("carriage return: save the policy with LF line ends")
	case r != '\n' && r != '\t' && unicode.IsControl(r):
		s.bad("control character")
	case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Variation_Selector):
		s.bad("invisible or direction-changing character") // bidi controls, zero widths, BOM, tags
	case r > unicode.MaxASCII && (s.in == 0):
		s.bad("only ASCII outside strings and comments") // look-alike names
	}
	s.step(r, rest)
}

func (s *scanner) step(r rune, rest []byte) {
	switch s.in {
	case '#':
		if r == '\n' {
			s.in = 0
		}
	case '"':
		switch {
		case s.escaped:
			s.escaped = false
		case r == '\\':
			s.escaped = true
		case r == '"' || r == '\n': // an unclosed string is the parser's to report
			s.in = 0
		}
	case '`':
		if r == '`' {
			s.in = 0
		}
	default:
		s.code(r, rest)
	}
}

func (s *scanner) code(r rune, rest []byte) {
	switch r {
	case '#', '"', '`':
		s.in, s.escaped = r, false
	case '(', '[', '{':
		if s.depth++; s.depth == maxDepth+1 {
			s.bad("brackets nested deeper than 32")
		}
	case ')', ']', '}':
		s.depth = max(0, s.depth-1)
	case '$':
		if bytes.HasPrefix(rest, []byte(`$"`)) || bytes.HasPrefix(rest, []byte("$`")) {
			s.bad("template strings are not allowed")
		}
	}
}
