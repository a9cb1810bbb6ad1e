package keyprovider

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"

	agent "github.com/openskr/openskr/enclave-agent"
)

// Key is one that the service may use.
type Key struct {
	// URL is https://HOST/keys/NAME for every version of a key, or ends with one version.
	// "": that of Public.
	URL string
	// Public is what `openskr key show NAME --json` prints of an RSA or P-256 key, or the
	// JWK in it: layers are wrapped to it without a release. Its kid is a version of URL.
	// nil: the key is released for that, too.
	Public []byte
}

// key is a Key that was checked.
type key struct {
	url    string
	public *recipient // nil: not known
}

// keyURL is the one spelling of a key's URL; it is compared as text.
var keyURL = regexp.MustCompile(`^https://[0-9a-z.:\[\]-]{1,255}/keys/[0-9a-zA-Z-]{1,127}(/[0-9a-f]{32})?$`)

func versioned(url string) bool { return strings.Count(url, "/") == 5 }

// covers says whether url is this key or a version of it.
func (k *key) covers(url string) bool {
	return url == k.url || !versioned(k.url) && strings.HasPrefix(url, k.url+"/")
}

func newKey(k Key) (out key, err error) {
	if k.Public != nil {
		if out.public, err = parsePublic(k.Public); err != nil {
			return key{}, fmt.Errorf("public half: %w", err)
		}
		if k.URL == "" {
			k.URL = out.public.kid
		}
	}
	if !keyURL.MatchString(k.URL) {
		return key{}, errors.New("want https://HOST/keys/NAME or https://HOST/keys/NAME/VERSION, the host in lower case")
	}
	out.url = k.URL
	if out.public != nil && !out.covers(out.public.kid) {
		return key{}, fmt.Errorf("public half: its kid is %.256q, another key", out.public.kid)
	}
	return out, nil
}

// allows says whether the configuration names the key at url.
func (s *Service) allows(url string) bool {
	for i := range s.keys {
		if s.keys[i].covers(url) {
			return true
		}
	}
	return false
}

// recipient is the key that a caller wants a layer wrapped to.
func (s *Service) recipient(ctx context.Context, url string) (*recipient, error) {
	for i := range s.keys {
		if p := s.keys[i].public; p != nil && (p.kid == url || !versioned(url) && strings.HasPrefix(p.kid, url+"/")) {
			return p, nil
		}
	}
	if !keyURL.MatchString(url) || !s.allows(url) {
		return nil, refuse(codes.PermissionDenied, "key %.256q is not in the configuration: name one that is, with --encryption-key provider:%s:https://HOST/keys/NAME", url, Provider)
	}
	return s.release(ctx, url)
}

// release gets a key for this machine. The caller closes it.
func (s *Service) release(ctx context.Context, url string) (*recipient, error) {
	if s.cfg.Agent == nil {
		return nil, refuse(codes.FailedPrecondition, "key %s: this service has public halves only: the key opens in an attested machine", url)
	}
	rel, err := s.cfg.Agent.Key(ctx, url)
	if err != nil {
		return nil, err
	}
	var r *recipient
	agent.Erasing(func() { r, err = released(rel) })
	if err != nil {
		return nil, errors.Join(refuse(codes.FailedPrecondition, "key %s: %w", rel.KID, err), rel.Material.Close())
	}
	return r, nil
}
