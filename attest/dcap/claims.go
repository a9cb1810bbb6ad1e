package dcap

import (
	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/schema"
)

// Claims is the TCB as tdx.tcb and sgx.tcb. What was not appraised is absent.
func (t *TCB) Claims() map[string]any {
	c := map[string]any{"status": t.Status}
	if t.Status == attest.TCBUnknown {
		return c
	}
	c["platform_status"], c["qe_status"] = t.Platform, t.QE
	if t.Module != "" {
		c["module_status"] = t.Module
	}
	advisories := make([]any, len(t.Advisories))
	for i, id := range t.Advisories {
		advisories[i] = id
	}
	c["advisories"], c["evaluation_number"] = advisories, t.Number
	c["date"], c["collateral_issued"], c["collateral_next_update"] = stamp(t.Date), stamp(t.Issued), stamp(t.NextUpdate)
	return c
}

// Schema is the JSON schema of [TCB.Claims].
func Schema() map[string]any {
	return schema.Object(map[string]any{
		"status": schema.Text(), "platform_status": schema.Text(), "module_status": schema.Text(), "qe_status": schema.Text(),
		"advisories": schema.Array(schema.Text()), "evaluation_number": schema.Int(),
		"date": schema.Text(), "collateral_issued": schema.Text(), "collateral_next_update": schema.Text(),
	})
}
