// Package azure reads release policies in the JSON grammar of Azure Key Vault and
// Managed HSM and writes the Rego that means the same (docs/policies.md, "Azure's
// JSON grammar"):
//
//	policy    = { "version": "1.0.0", "anyOf": [ authority+ ] }
//	authority = { "authority": "<issuer URL>", ("allOf" | "anyOf"): [ cond+ ] }
//	cond      = { "claim": "a.b.c", <operator>: value } | { "allOf": [ cond+ ] } | { "anyOf": [ cond+ ] }
//	value     = string | number | true | false
//	operator  = equals | notEquals | less | lessOrEquals | greater | greaterOrEquals | exists
//
// What the grammar does not have is refused at upload, with its place. No text of a
// policy becomes a name, a comment or anything but a quoted string of the Rego.
package azure

// Bounds of a policy.
const (
	MaxSize     = 8 << 10 // bytes of JSON
	maxLevels   = 10      // of anyOf and allOf, the outermost included
	maxList     = 64      // of one anyOf or allOf
	maxName     = 256     // bytes of a claim's name or of an authority
	maxSegments = 16      // of a claim's path
)

// Operators of a condition.
const (
	Equals          = "equals"
	NotEquals       = "notEquals"
	Less            = "less"
	LessOrEquals    = "lessOrEquals"
	Greater         = "greater"
	GreaterOrEquals = "greaterOrEquals"
	Exists          = "exists"
)

// Policy is a whole release policy. Parse makes it.
type Policy struct {
	Version     string
	All         bool // the outermost list is allOf: every authority must pass, not one
	Authorities []Authority
	Remarks     []Remark // legal, and probably not what was meant
}

// Authority is who must have vouched for the claims, and what they must be.
type Authority struct {
	URL string // without one trailing slash
	List
	at int
}

// List is an allOf or anyOf.
type List struct {
	All        bool
	Conditions []Condition
}

// Condition is one comparison or, with List, a nested anyOf or allOf.
type Condition struct {
	Claim, Operator string
	Value           Value
	List            *List
	Offset          int // bytes before it in the source
}

// Remark is a warning and its place, bytes from the start of the source.
type Remark struct {
	Offset  int
	Message string
}

// Error says why a policy is refused and where, bytes from the start of the source.
type Error struct {
	Offset  int
	Message string
}

func (e *Error) Error() string { return e.Message }

// Each calls f for every comparison, in the order they are written.
func (p *Policy) Each(f func(*Condition)) {
	for i := range p.Authorities {
		p.Authorities[i].each(f)
	}
}

func (l *List) each(f func(*Condition)) {
	for i := range l.Conditions {
		if c := &l.Conditions[i]; c.List != nil {
			c.List.each(f)
		} else {
			f(c)
		}
	}
}
