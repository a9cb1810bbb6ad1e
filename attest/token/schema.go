package token

import (
	"maps"
	"strings"

	"github.com/openskr/openskr/attest/schema"
)

// Schema is the JSON schema of the claims of a token. docs/claims.md says what each
// claim means and which service states it.
func Schema() map[string]any {
	hardware := properties(maaNames(), snpNames(), tdxNames())
	isolation := maps.Clone(hardware)
	isolation["x-ms-runtime"] = schema.Object(map[string]any{"vm-configuration": schema.Object(properties(vmConfiguration()))})

	unverified := properties(clientNames())
	unverified["client-payload"] = schema.Open()

	out := properties(maaNames(), snpNames(), tdxNames(), sgxNames(), vmNames())
	out["x-ms-isolation-tee"] = schema.Object(isolation)
	out["unverified"] = schema.Object(unverified)
	out["token"] = schema.Object(map[string]any{
		"issuer": schema.Text(), "kind": schema.Text(), "jti": schema.Text(),
		"iat": schema.Int(), "exp": schema.Int(),
	})
	out[KindGCS] = schema.Object(gcsSchema())
	out[KindITA] = schema.Object(itaSchema())
	out[KindEAR] = schema.Object(earSchema())
	return schema.Object(out)
}

func gcsSchema() map[string]any {
	out := properties(gcsNames(), gceNames(), containerNames())
	texts := schema.Array(schema.Text())
	out["env"], out["env_override"], out["support_attributes"], out["image_signature_keys"] = texts, texts, texts, texts
	out["memory_monitoring"] = schema.Bool()
	out["tcb_status"], out["tcb_date"] = schema.Text(), schema.Text()
	return out
}

func itaSchema() map[string]any {
	out := properties(itaNames())
	out["eat_profile"], out["ver"] = schema.Text(), schema.Text()
	out["policy_ids_matched"], out["policy_ids_unmatched"] = schema.Array(schema.Text()), schema.Array(schema.Text())
	return out
}

func earSchema() map[string]any {
	vector := map[string]any{}
	for _, n := range vectorNames() {
		vector[strings.ReplaceAll(n, "-", "_")] = schema.Int()
	}
	return map[string]any{
		"eat_profile": schema.Text(), "developer": schema.Text(), "build": schema.Text(),
		"submods": schema.Array(schema.Object(map[string]any{
			"name": schema.Text(), "status": schema.Text(), "policy_id": schema.Text(),
			"trustworthiness": schema.Object(vector),
		})),
	}
}

// properties is the schema of listed claims.
func properties(lists ...[]claim) map[string]any {
	out := map[string]any{}
	for _, l := range lists {
		for _, c := range l {
			out[c.name] = c.schema()
		}
	}
	return out
}

func (c claim) schema() map[string]any {
	switch c.typ {
	case boolean:
		return schema.Bool()
	case integer:
		return schema.Int()
	case integers:
		return schema.Array(schema.Int())
	case texts:
		return schema.Array(schema.Text())
	}
	return schema.Text()
}
