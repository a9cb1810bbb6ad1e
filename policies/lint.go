package policies

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/openskr/openskr/attest"
)

// lint warns of what is legal and usually wrong.
func lint(m *ast.Module) []Diagnostic {
	l := &linter{pcrs: map[string]bool{}}
	for _, rule := range m.Rules {
		deny := rule.Head.Ref().String() == "deny"
		ast.WalkExprs(rule, func(e *ast.Expr) bool {
			l.expr(e, deny)
			return false
		})
		ast.WalkRefs(rule, func(r ast.Ref) bool {
			l.ref(r)
			return false
		})
	}
	at := m.Package.Location
	if l.azure && !l.measured {
		l.warn(at, "lint_paravisor", "no claim of the hardware (snp.id_key_digest, snp.measurement, tdx.mrtd) is part of the policy: any guest on SEV-SNP or TDX can write the rest of an azure-cvm's evidence")
	}
	if !l.typed && (l.shared || len(l.pcrs) > 0) {
		l.warn(at, "lint_no_type", "no type of evidence (input.evidence.type) is part of the policy: other types give the same claims and prove them by less; the PCRs of an azure-cvm are its own word")
	}
	switch {
	case len(l.pcrs) == 0 && !l.measured:
		l.warn(at, "lint_no_measurement", "no measurement (PCR, launch digest, MRTD, image) is part of the policy: whatever the machine runs passes")
	case len(l.pcrs) > 0 && !l.pcrs["12"] && !l.pcrs["*"]:
		l.warn(at, "lint_pcr_12", "PCR 12 is not part of the policy: the command line and other load options could be anything")
	}
	return l.found
}

type linter struct {
	pcrs     map[string]bool // of a TPM, compared somewhere; "*": all, by a variable
	measured bool            // another measurement of what runs is named
	azure    bool            // the policy is for azure-cvm
	shared   bool            // a measurement is named that several types of evidence give
	typed    bool            // it asks what kind of evidence there is, or whose
	found    []Diagnostic
}

func (l *linter) warn(at *ast.Location, code, message string) {
	l.found = append(l.found, Diagnostic{Row: at.Row, Col: at.Col, Code: code, Message: message, Severity: SeverityWarning})
}

func (l *linter) expr(e *ast.Expr, deny bool) {
	ast.WalkTerms(e, func(t *ast.Term) bool {
		l.azure = l.azure || t.Equal(ast.StringTerm(string(attest.TypeAzureCVM)))
		return false
	})
	for _, t := range operands(e) {
		switch {
		case !claim(t):
		case e.Negated:
			l.warn(e.Location, "lint_negated_claim", "`not` holds when "+t.String()+" is missing: compare it with == false, or give it a name (x := ...) before")
			return
		case deny && e.IsCall() && !e.IsAssignment():
			l.warn(e.Location, "lint_deny_claim", "does not deny when "+t.String()+" is missing: demand the good value in allow as well")
			return
		}
	}
}

func operands(e *ast.Expr) []*ast.Term {
	switch terms := e.Terms.(type) {
	case *ast.Term:
		return []*ast.Term{terms}
	case []*ast.Term:
		return terms[1:]
	}
	return nil
}

func claim(t *ast.Term) bool {
	r, ok := t.Value.(ast.Ref)
	return ok && strings.HasPrefix(r.String(), "input.claims.")
}

// measurements are the claims, besides PCRs of a TPM, that say what runs. Each is the
// beginning of a reference's text.
var measurements = []string{
	"input.claims.snp.measurement", "input.claims.snp.id_key_digest", `input.claims["x-ms-sevsnpvm-launchmeasurement"]`, "input.claims.tdx.mrtd", "input.claims.tdx_mrtd",
	"input.claims.sgx.mrenclave", "input.claims.sgx.mrsigner", `input.claims["x-ms-sgx-mrenclave"]`, `input.claims["x-ms-sgx-mrsigner"]`,
	"input.claims.nitro.pcrs", "input.claims.gcs.image_digest", `input.claims["x-ms-isolation-tee"]["x-ms-sevsnpvm-launchmeasurement"]`,
	`input.claims["x-ms-isolation-tee"].tdx_mrtd`,
}

// ref notes input.claims.…pcrs.<bank>[i] and other measurements, and warns of what a
// client says of itself.
func (l *linter) ref(r ast.Ref) {
	text := r.String()
	l.typed = l.typed || strings.HasPrefix(text, "input.evidence.type") || strings.HasPrefix(text, "input.evidence.authority")
	l.shared = l.shared || strings.HasPrefix(text, "input.claims.snp.") || strings.HasPrefix(text, "input.claims.tdx") || strings.Contains(text, "sevsnpvm")
	if strings.HasPrefix(text, "input.claims.unverified") {
		l.warn(r[0].Location, "lint_unverified", "what is under unverified is the client's own word: nothing proves it")
	}
	if slices.ContainsFunc(measurements, func(m string) bool { return strings.HasPrefix(text, m) }) {
		l.measured = true
	}
	if strings.HasPrefix(text, "input.claims.nitro.") {
		return // an enclave has no PCR 12
	}
	for i, t := range r {
		if i == 0 || !t.Equal(ast.StringTerm("pcrs")) || len(r) <= i+2 {
			continue
		}
		if s, ok := r[i+2].Value.(ast.String); ok {
			l.pcrs[string(s)] = true
		} else {
			l.pcrs["*"] = true
		}
	}
}
