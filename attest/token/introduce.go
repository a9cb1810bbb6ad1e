package token

import (
	"cmp"
	"fmt"

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
	is.Issuer, _ = r.text("iss")
	switch {
	case r.has("ear.verifier-id"):
		is.Kind = KindEAR
		developer, _ := r.object("ear.verifier-id").text("developer")
		is.Issuer = cmp.Or(is.Issuer, developer)
	case r.has("x-ms-ver") || r.has("x-ms-attestation-type"):
		is.Kind = KindMAA
	case r.has("swname"): // Intel signs these for Google too
		is.Kind = KindGCS
	default:
		is.Kind = KindITA
	}
	if aud := r.texts("aud"); len(aud) == 1 {
		is.Audience = aud[0]
	}
	return is, r.failed()
}
