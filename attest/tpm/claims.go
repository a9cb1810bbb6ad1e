package tpm

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/openskr/openskr/attest"
)

// quoteClaims are what the quote and the AK certificate prove by themselves. pcrs is
// nil where no values were given.
func quoteClaims(q *attested, pcrs *bank, ak *AK, cert akIdentity) attest.Claims {
	tpm := map[string]any{
		"firmware_version": fmt.Sprintf("%016x", q.firmware),
		"clock": map[string]any{
			"safe":          q.clock.safe,
			"reset_count":   int64(q.clock.resetCount),
			"restart_count": int64(q.clock.restartCount),
		},
		"eventlog": map[string]any{"present": false, "complete": false, "unexplained": []any{}},
	}
	if pcrs != nil {
		values := make(map[string]any, 24)
		for i, v := range pcrs.values {
			if v != nil {
				values[strconv.Itoa(i)] = hex.EncodeToString(v)
			}
		}
		tpm["bank"], tpm["pcrs"] = pcrs.name, map[string]any{pcrs.name: values}
	}
	if len(ak.Name) > 0 {
		tpm["ak"] = hex.EncodeToString(ak.Name)
	}
	if cert.ekHash != nil {
		tpm["ek"] = hex.EncodeToString(cert.ekHash)
	}
	return attest.Claims{"tpm": tpm}
}
