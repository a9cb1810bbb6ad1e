package endorser

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/openskr/openskr/attest"
)

// Where the authorities publish.
const (
	AMD         = "https://kdsintf.amd.com"               // asked when Config.AMD is empty
	Intel       = "https://api.trustedservices.intel.com" // and Config.Intel
	intelHost   = "api.trustedservices.intel.com"
	intelRoots  = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
	maxIDLength = 256
)

// kind says what is special about the documents of a kind.
type kind struct {
	id *regexp.Regexp
	// path follows an authority's base URL; $1, $2 are groups of id.
	path string
	// chain names the headers that carry the issuer chain, the first that is there.
	chain []string
	// stranger says that Evidence chooses the ID before anything of it is proven.
	stranger bool
	// memory says that nothing in the document proves who made it, so that it
	// is never read from a disk that others may write.
	memory bool
}

// A hardware id and one component each of its TCB; the order is that of AMD's Key
// Distribution Service (57230, §4.1).
const spls = `blSPL=[0-9]{2,3}&teeSPL=[0-9]{2,3}&snpSPL=[0-9]{2,3}&ucodeSPL=[0-9]{2,3}`

func kinds() map[attest.NeedKind]kind {
	return map[attest.NeedKind]kind{
		attest.NeedAMDVCEK: {
			id:   regexp.MustCompile(`^((?:Milan|Genoa)/[0-9a-f]{128}\?` + spls + `|Turin/[0-9a-f]{16}\?fmcSPL=[0-9]{2,3}&` + spls + `)$`),
			path: "/vcek/v1/$1", stranger: true,
		},
		attest.NeedAMDCRL: {id: regexp.MustCompile(`^(vcek|vlek)/(Milan|Genoa|Turin)$`), path: "/$1/v1/$2/crl"},
		attest.NeedIntelTCB: {
			id: regexp.MustCompile(`^(tdx|sgx)/([0-9a-f]{12})$`), path: "/$1/certification/v4/tcb?fmspc=$2",
			chain: []string{"Tcb-Info-Issuer-Chain", "Sgx-Tcb-Info-Issuer-Chain"},
		},
		attest.NeedIntelQE: {
			id: regexp.MustCompile(`^(tdx|sgx)$`), path: "/$1/certification/v4/qe/identity",
			chain: []string{"Sgx-Enclave-Identity-Issuer-Chain"},
		},
		attest.NeedIntelPCKCRL: {
			id: regexp.MustCompile(`^(platform|processor)$`), path: "/sgx/certification/v4/pckcrl?ca=$1&encoding=der",
			chain: []string{"Sgx-Pck-Crl-Issuer-Chain"},
		},
		attest.NeedIntelRootCRL: {id: regexp.MustCompile(`^$`), path: "/sgx/certification/v4/rootcacrl"},
		attest.NeedJWKS:         {id: regexp.MustCompile(`^\S+$`), memory: true},
	}
}

// check refuses a Need that no authority could answer. It is what stands between
// Evidence and a URL.
func (e *Endorser) check(need attest.Need) (kind, error) {
	k, ok := e.kinds[need.Kind]
	if !ok || len(need.ID) > maxIDLength || !k.id.MatchString(need.ID) {
		return kind{}, fmt.Errorf("%w: %.32q %.300q", ErrNeed, need.Kind, need.ID)
	}
	if need.Kind == attest.NeedJWKS && e.cfg.Issuers[need.ID] == "" {
		return kind{}, fmt.Errorf("%w: %.300q is no configured issuer", ErrNeed, need.ID)
	}
	return k, nil
}

// addresses gives the URLs of a checked Need, in the order to try them.
func (e *Endorser) addresses(need attest.Need, k kind) []string {
	bases := e.cfg.Intel
	switch need.Kind {
	case attest.NeedJWKS:
		return []string{e.cfg.Issuers[need.ID]}
	case attest.NeedAMDVCEK, attest.NeedAMDCRL:
		bases = e.cfg.AMD
	}
	path := string(k.id.ExpandString(nil, k.path, need.ID, k.id.FindStringSubmatchIndex(need.ID)))
	out := make([]string, len(bases))
	for i, base := range bases {
		out[i] = base + path
		if need.Kind == attest.NeedIntelRootCRL && hostOf(base) == intelHost {
			out[i] = intelRoots // Intel serves this one document elsewhere; a PCCS does not
		}
	}
	return out
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// base checks a configured address: HTTPS, a host, and nothing that could lead
// elsewhere.
func base(address string, query bool) (string, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return "", err
	case u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		return "", fmt.Errorf("%q: want https://HOST", address)
	case u.User != nil || u.Fragment != "" || u.RawQuery != "" && !query:
		return "", fmt.Errorf("%q: no user, fragment or query here", address)
	}
	return strings.TrimRight(address, "/"), nil
}
