package token

import (
	"fmt"
	"strings"

	"github.com/openskr/openskr/attest"
)

// Introduce reads from evidence who says to have signed it, and guesses which kind of
// service that is: for offline verification, where somebody gives the keys himself.
// Nothing of it is verified, and the Issuer has no keys yet.
func Introduce(body []byte) (*Issuer, error) {
	v := &Verifier{cfg: Config{Type: attest.TypeToken}}
	msg, rej := v.decode(attest.Evidence{Type: attest.TypeToken, Body: body})
	if rej != nil {
		return nil, rej
	}
	claims, err := parse(msg.Payload, MaxToken)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	r := read(claims)
	is := &Issuer{MaxAge: maxMaxAge}
	profile, _ := r.text("eat_profile")
	is.Issuer, _ = r.text("iss")
	switch {
	case strings.Contains(profile, ":ear") || strings.Contains(profile, "/ear"):
		is.Kind = KindEAR
		if is.Issuer == "" {
			is.Issuer, _ = r.object("ear.verifier-id").text("developer")
		}
	case r.has("x-ms-ver") || r.has("x-ms-attestation-type"):
		is.Kind = KindMAA
	case r.has("attester_type") || r.has("verifier_instance_ids"):
		is.Kind = KindITA
	default:
		is.Kind = KindGCS
	}
	if a, ok := r.text("aud"); ok {
		is.Audience = a
	}
	return is, r.failed()
}
