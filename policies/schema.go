package policies

// inputSchema is the JSON Schema of the input document (release.Input). OPA
// takes the members of an object with properties as all there are, and an object
// without properties as free, so a misspelt member is an error with its place.
func inputSchema(claims map[string]any) any {
	if claims == nil {
		claims = object(nil)
	}
	str, integer, boolean := scalar("string"), scalar("integer"), scalar("boolean")
	return object(map[string]any{
		"request": object(map[string]any{"key": str, "version": str, "purpose": str, "enc": str, "door": str, "time": integer}),
		"caller":  object(map[string]any{"kind": str, "id": str, "roles": map[string]any{"type": "array", "items": str}}),
		"machine": object(map[string]any{"labels": object(nil), "enrolled": boolean}),
		"evidence": object(map[string]any{
			"type": str, "authority": str, "freshness": str, "tcb_status": str, "collateral_age": integer,
		}),
		"claims": any(claims),
		"key": object(map[string]any{
			"name": str, "tags": object(nil),
			"attributes": object(map[string]any{"enabled": boolean, "nbf": integer, "exp": integer, "exportable": boolean}),
		}),
	})
}

func scalar(kind string) map[string]any { return map[string]any{"type": kind} }

func object(properties map[string]any) map[string]any {
	o := map[string]any{"type": "object"}
	if properties != nil {
		o["properties"], o["additionalProperties"] = properties, false
	}
	return o
}
