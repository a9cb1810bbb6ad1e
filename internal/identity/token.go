package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// MaxForm bounds a token request in bytes: an assertion may carry its certificates.
const MaxForm = 24 << 10

// TokenRequest is a client credentials request (RFC 6749 §4.4).
type TokenRequest struct {
	GrantType, ClientID, ClientSecret string
	Assertion                         string // client_assertion, a JWT, in place of the secret
	Resource                          string // scope without /.default, or resource; "" when neither was given
	Authority                         string // https://host[:port] that the request came to; set by the door
}

// Token answers it.
type Token struct {
	Type    string `json:"token_type"` // "Bearer"
	Expires int64  `json:"expires_in"` // seconds
	// ExtExpires repeats it: MSAL reads it.
	ExtExpires int64  `json:"ext_expires_in"`
	Access     string `json:"access_token"`
}

// FormError is what is wrong with a token request in itself. Its sender is told, since it
// says nothing about who or what there is here.
type FormError struct {
	Code string // of RFC 6749 §5.2
	Text string // without quotation marks and backslashes (§5.2)
}

// Codes of FormError.
const (
	oauthRequest = "invalid_request"
	oauthGrant   = "unsupported_grant_type"
	oauthScope   = "invalid_scope"
)

func (e *FormError) Error() string { return "token form: " + e.Text }

// malformed refuses a token request; detail is for the log alone.
func malformed(code, text, detail string) error {
	return release.Refuse(release.ReasonBadRequest, "%w %.128q", &FormError{code, text}, detail)
}

// ParseForm reads the one form body of the API. A repeated member is refused:
// two parsers would read it differently. Members that clients send and nobody
// needs (client_info, claims) are ignored.
func ParseForm(body []byte) (*TokenRequest, error) {
	if len(body) > MaxForm {
		return nil, release.Refuse(release.ReasonTooLarge, "token form of %d bytes, limit %d", len(body), MaxForm)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, malformed(oauthRequest, "the body is not application/x-www-form-urlencoded", "")
	}
	for name, values := range form {
		if len(values) != 1 {
			return nil, release.Refuse(release.ReasonDuplicateMember, "%w: %.32q", &FormError{oauthRequest, "a parameter is given more than once"}, name)
		}
	}
	scope, resource := form.Get("scope"), form.Get("resource")
	if scope != "" && resource != "" {
		return nil, malformed(oauthRequest, "scope and resource together: one of them says what the token is for", "")
	}
	if scope, err = oneScope(scope); err != nil {
		return nil, err
	}
	secret, assertion, kind := form.Get("client_secret"), form.Get("client_assertion"), form.Get("client_assertion_type")
	switch {
	case assertion != "" && secret != "":
		return nil, malformed(oauthRequest, "client_secret and client_assertion together", "")
	case (assertion != "") != (kind == AssertionType):
		return nil, malformed(oauthRequest, "client_assertion goes with client_assertion_type "+AssertionType, kind)
	}
	return &TokenRequest{
		GrantType: form.Get("grant_type"), ClientID: form.Get("client_id"), ClientSecret: secret, Assertion: assertion,
		Resource: strings.TrimSuffix(scope+resource, "/"),
	}, nil
}

// oneScope gives the resource that a scope is of. Clients make the scope from the
// resource: "<resource>/.default", and some resources end with a slash already. MSAL
// adds scopes of OpenID Connect, which mean nothing without a user.
func oneScope(scope string) (string, error) {
	out := ""
	for s := range strings.FieldsSeq(scope) {
		switch s {
		case "openid", "profile", "offline_access":
			continue
		}
		if out != "" {
			return "", malformed(oauthScope, "more than one scope: a token is for one resource", s)
		}
		out = s
	}
	return strings.TrimSuffix(out, "/.default"), nil
}

// Token issues an access token. Unknown principal, disabled principal and wrong
// secret are one answer after the same work, and so is a wrong assertion. Errors are
// *release.Error.
func (s *Service) Token(ctx context.Context, r *TokenRequest) (*Token, error) {
	if r.GrantType != "client_credentials" {
		return nil, malformed(oauthGrant, "only grant_type client_credentials: users log in elsewhere", r.GrantType)
	}
	if r.Resource != "" && !slices.Contains(s.c.Resources, r.Resource) {
		return nil, malformed(oauthScope, "the scope or resource is none of this deployment: ask for the one that its 401 answers name", r.Resource)
	}
	p, err := s.principal(ctx, r.ClientID)
	if err != nil {
		return nil, err
	}
	if err := s.proven(ctx, r, p); err != nil {
		if release.ReasonOf(err) == release.ReasonOverloaded {
			return nil, err
		}
		return nil, release.Refuse(release.ReasonUnauthorized, "client %.64q: %w", r.ClientID, err)
	}
	access, err := s.issue(p)
	if err != nil {
		return nil, err
	}
	life := int64(TokenLife.Seconds())
	return &Token{Type: "Bearer", Expires: life, ExtExpires: life, Access: access}, nil
}

// proven judges the credential of a token request for p, nil when there is none. That p
// is disabled is said last: it is known to whoever proved itself.
func (s *Service) proven(ctx context.Context, r *TokenRequest, p *Principal) error {
	if r.Assertion == "" {
		secret, bad := b64.DecodeString(r.ClientSecret)
		if ok := p.proves(secret); !ok || bad != nil {
			return errors.New("unknown, or wrong secret")
		}
	} else {
		if p == nil {
			return errors.New("unknown")
		}
		if err := s.asserted(ctx, r, p); err != nil {
			return fmt.Errorf("client assertion: %w", err)
		}
	}
	if !p.Enabled {
		return errors.New("disabled")
	}
	return nil
}

// Resources gives what a client asks a token for when it talks to one of hosts
// (authorities as in a URL): the host itself, and the host without its first
// label, which Key Vault clients check the advertised resource against.
func Resources(hosts []string) []string {
	var out []string
	for _, h := range hosts {
		for _, r := range []string{"https://" + h, "https://" + Parent(h)} {
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// Parent strips the first label of a name with at least two, keeping the port:
// "kv1.vault.local:8443" to "vault.local:8443". Others come back as they are; a
// bare name or an address has no parent that a client's check could accept.
func Parent(host string) string {
	name, _, _ := strings.Cut(host, ":")
	if !strings.Contains(name, ".") || strings.Trim(name, "0123456789.") == "" || strings.HasPrefix(host, "[") {
		return host
	}
	_, rest, _ := strings.Cut(host, ".")
	return rest
}

// KeySet is the published form of the keys that access tokens are verified with.
func (s *Service) KeySet() (*jose.ECKeySet, error) { return s.c.Keys.Publish() }
