// Package schema writes the JSON schema of claims: what a release policy may name
// as input.claims. Every object is closed, so that a policy which misspells a claim
// does not compile.
package schema

import "fmt"

// Object has these members and no others.
func Object(properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// Array has items of one kind.
func Array(items map[string]any) map[string]any {
	return map[string]any{"type": "array", "items": items}
}

// Open is an object whose members nobody can list, for example a client's own.
func Open() map[string]any { return map[string]any{"type": "object"} }

// Text is a string.
func Text() map[string]any { return map[string]any{"type": "string"} }

// Bool is a boolean.
func Bool() map[string]any { return map[string]any{"type": "boolean"} }

// Int is an integer.
func Int() map[string]any { return map[string]any{"type": "integer"} }

// Union is the object that has the members of all. Members of one name must be
// objects, which are united in turn, or the same; it panics otherwise, as the claims
// of two TEEs would then mean different things by one name.
func Union(objects ...map[string]any) map[string]any {
	properties := map[string]any{}
	for _, o := range objects {
		for name, p := range o["properties"].(map[string]any) {
			p := p.(map[string]any)
			if old, ok := properties[name].(map[string]any); ok {
				p = unite(name, old, p)
			}
			properties[name] = p
		}
	}
	return Object(properties)
}

func unite(name string, a, b map[string]any) map[string]any {
	_, nested := a["properties"]
	_, both := b["properties"]
	switch {
	case nested && both:
		return Union(a, b)
	case fmt.Sprint(a) == fmt.Sprint(b):
		return a
	}
	panic(fmt.Sprintf("claim %s is %v and %v", name, a, b))
}
