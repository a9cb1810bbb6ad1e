package interop

import (
	"encoding/json"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// releasePolicy is a policy in Azure's grammar that asks the suite's broker for a
// token about hardware of this type.
func releasePolicy(attestationType string) *azkeys.KeyReleasePolicy {
	type m map[string]any
	doc, err := json.Marshal(m{"version": "1.0.0", "anyOf": []m{{
		"authority": suite.broker.Authority, "allOf": []m{{"claim": "x-ms-attestation-type", "equals": attestationType}},
	}}})
	if err != nil {
		panic(err) // strings only
	}
	return &azkeys.KeyReleasePolicy{EncodedPolicy: doc}
}
