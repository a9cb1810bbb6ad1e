package agenttest

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// SecretVersion is the id of the nth version of a secret, from 1.
func SecretVersion(n int) string { return fmt.Sprintf("%032x", n) }

// readSecret answers GET /secrets/NAME[/VERSION] as the Key Vault door does, to whoever has
// the token that /v1/token gives: the Material.
func (b *Broker) readSecret(w http.ResponseWriter, r *http.Request) {
	b.Reads++
	b.SecretHost = r.Host
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(token), b.Material) != 1 {
		Refuse(w, http.StatusUnauthorized, "unauthorized")
		return
	}
	name, version, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/secrets/"), "/")
	values := b.Secrets[name]
	n := len(values)
	if version != "" {
		for n > 0 && SecretVersion(n) != version {
			n--
		}
	}
	if r.Method != http.MethodGet || r.URL.RawQuery != "api-version=7.6" || n == 0 {
		Refuse(w, http.StatusNotFound, "not_found")
		return
	}
	answer := map[string]any{
		"value": values[n-1], "id": "https://" + r.Host + "/secrets/" + name + "/" + SecretVersion(n),
		"attributes": map[string]any{"enabled": true, "recoveryLevel": "Recoverable+Purgeable"},
	}
	if b.Secret != nil {
		b.Secret(answer)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}
