package release

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
)

// constants gives the string constants of a file whose names have that prefix.
func constants(t *testing.T, file, prefix string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v, ok := s.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(v.Names[0].Name, prefix) {
				continue
			}
			lit, ok := v.Values[0].(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				continue
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out[v.Names[0].Name] = text
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s declares no %s… constant", file, prefix)
	}
	return out
}

// TestReasonsAreClosed: every declared code is on the list with a class, and the
// list holds nothing that is not declared.
func TestReasonsAreClosed(t *testing.T) {
	declared := map[string]bool{}
	for name, code := range constants(t, "reason.go", "Reason") {
		if declared[code] {
			t.Errorf("%s repeats the code %s", name, code)
		}
		declared[code] = true
	}
	for _, code := range constants(t, "../attest/errors.go", "Check") {
		declared[code] = true
	}
	snake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for code := range declared {
		if _, ok := Reasons()[Reason(code)]; !ok {
			t.Errorf("%s is declared and has no class", code)
		}
		if !snake.MatchString(code) {
			t.Errorf("%s is not snake_case", code)
		}
	}
	for code := range Reasons() {
		if !declared[string(code)] {
			t.Errorf("%s has a class and is declared nowhere", code)
		}
	}
	if Reason("never_heard_of").Class() != ClassInternal {
		t.Error("an unknown code is not an internal error")
	}
	Reasons()[ReasonInternal] = ClassBad
	if ReasonInternal.Class() != ClassInternal {
		t.Error("a caller of Reasons can change the list")
	}
}

type foreign string

func (f foreign) Error() string         { return string(f) }
func (f foreign) ReleaseReason() string { return string(f) }

func TestReasonOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Reason
	}{
		{nil, ""},
		{errors.New("x"), ReasonInternal},
		{Refuse(ReasonConflict, "x"), ReasonConflict},
		{fmt.Errorf("a: %w", Refuse(ReasonConflict, "x")), ReasonConflict},
		{fmt.Errorf("a: %w", attest.Reject(attest.CheckSignature, "x")), Reason(attest.CheckSignature)},
		{Refuse(ReasonEKNotTrusted, "%w", attest.Reject(attest.CheckSignature, "x")), ReasonEKNotTrusted},
		{fmt.Errorf("a: %w", foreign("wrap_alg_not_allowed")), ReasonWrapAlg},
		{foreign("recipient_key_invalid"), Reason(attest.CheckRecipient)},
		{foreign("made_up"), ReasonInternal},
	} {
		if got := ReasonOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
