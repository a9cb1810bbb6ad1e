// Package attestation is the attestation service: evidence goes in, a signed token
// comes out, in the shapes of Azure Attestation (docs/attestation.md), so that its
// clients work unchanged. Which evidence is good is the business of the verifiers
// behind it; this door reads requests and words answers. It knows no HTTP framework.
//
// A token says what the hardware vouched for, and gives nothing away: no key leaves on
// a token alone, since a release through the Key Vault door asks for a right as well.
package attestation

import (
	"errors"
	"net/http"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// Life is how long a token is good. It is short on purpose: the deny lists and
// revocation lists that stood when it was made are what it rests on.
const Life = 5 * time.Minute

// Prefix begins the names of the operations that take evidence. Evidence they refuse is
// answered 400, which Azure's clients take as final.
const Prefix = "attest/"

// maxReport bounds a request in bytes.
const maxReport = 256 << 10

// Config is what the service stands on; all but Simulation is required.
type Config struct {
	Deployment string // id
	// Simulation lets simulated evidence through the same routes, and marks every token.
	Simulation bool
	// Verifier is those of all types; one that is missing refuses its type.
	Verifier attest.Verifier
	Guests   GuestVerifier       // as Verifier, for AzureGuest
	Keys     []jose.CertifiedKey // the first signs, all are published
	Now      func() time.Time
	// Denials names the deny list that the verifiers hold hardware against, for
	// x-openskr.denials. Nil: none.
	Denials func() string
}

// Service makes tokens. It is safe for concurrent use.
type Service struct {
	Config
	signer *jose.RS256Signer
	keys   *jose.PublicKeySet
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Deployment == "" || c.Verifier == nil || c.Guests == nil || len(c.Keys) == 0 || c.Now == nil {
		return nil, errors.New("attestation service: a part is missing")
	}
	s := &Service{Config: c}
	var err error
	if s.signer, err = jose.NewRS256Signer(c.Keys[0]); err != nil {
		return nil, err
	}
	s.keys, err = jose.Publish(c.Keys)
	return s, err
}

// Routes is the table of the door. Libraries of JWTs ask for the discovery document and
// the keys without an api-version, Azure's clients with one.
func Routes(s *Service) []*route.Route {
	version := []string{"api-version"}
	out := []*route.Route{
		{
			Method: http.MethodGet, Path: "/.well-known/openid-configuration", Name: "attestation/discovery", Door: release.DoorNative,
			Access: route.Public, Cost: 1, Query: version, Do: s.discovery,
		},
		{
			Method: http.MethodGet, Path: "/certs", Name: "attestation/keys", Door: release.DoorNative,
			Access: route.Public, Cost: 1, Query: version, Do: s.certificates,
		},
	}
	for _, r := range []route.Route{
		{Path: "/attest/SevSnpVm", Name: "attest/sevsnpvm", Limit: maxReport, Do: s.snp},
		{Path: "/attest/TdxVm", Name: "attest/tdxvm", Limit: maxReport, Do: s.tdx},
		{Path: "/attest/AzureGuest", Name: "attest/azureguest", Limit: maxGuest, Do: s.guest},
		{Path: "/attest/SgxEnclave", Name: "attest/sgxenclave", Limit: maxReport, Do: s.sgx},
	} {
		r.Method, r.Door, r.Access, r.Cost, r.Body, r.Queue = http.MethodPost, release.DoorKeyVault, route.Public, 2, route.JSON, route.Deciding
		out = append(out, &r)
	}
	return out
}
