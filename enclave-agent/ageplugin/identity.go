package ageplugin

import (
	"context"
	"crypto/ecdsa"
	"crypto/hpke"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"filippo.io/age"

	agent "github.com/openskr/openskr/enclave-agent"
)

// maxStanzas of one key in a file: each may cost a release.
const maxStanzas = 4

const hpkeBody = 65 + fileKey + 16 // encapsulated key, file key, tag

// errOpen says that a stanza is not what [Recipient.Wrap] made.
var errOpen = fmt.Errorf("%w: the file key does not open: the file was altered, or encrypted to another public half under this key's name", ErrFile)

// Identity unwraps file keys with a key that is released to this machine. It is an
// [age.Identity].
type Identity struct {
	ctx     context.Context //nolint:containedctx // age.Identity takes none
	key     keyURL
	release Release
}

// NewIdentity is for the key at url; with a version in it, for files of that version
// only. ctx bounds every Unwrap. Errors wrap [agent.ErrConfig].
func NewIdentity(ctx context.Context, release Release, url string) (*Identity, error) {
	key, err := parseKeyURL(url)
	if err != nil {
		return nil, err
	}
	return &Identity{ctx, key, release}, nil
}

// Unwrap asks for the key versions that the stanzas name, in their order, until one
// opens. A stanza that names this key and does not open is not passed over in silence.
// Without a stanza for this key the error is [age.ErrIncorrectIdentity], and nobody is
// asked for anything. Other errors wrap [ErrFile] or are those of [agent.Agent.Key].
func (i *Identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	mine, err := i.mine(stanzas)
	if err != nil {
		return nil, err
	}
	if len(mine) == 0 {
		return nil, age.ErrIncorrectIdentity
	}
	var failed []error
	for _, w := range mine {
		key, err := i.unwrap(w)
		if err == nil {
			return key, nil
		}
		failed = append(failed, fmt.Errorf("key %s: %w", w.key, err))
		if refused := (*agent.Refused)(nil); !errors.As(err, &refused) && !errors.Is(err, errOpen) {
			break // another version would fail in the same way
		}
	}
	return nil, errors.Join(failed...)
}

// wrapped is a stanza for this identity.
type wrapped struct {
	key  keyURL // with version
	kty  string
	body []byte
}

// mine reads the stanzas of this plugin strictly and gives those for this key.
func (i *Identity) mine(stanzas []*age.Stanza) ([]wrapped, error) {
	var out []wrapped
	for _, s := range stanzas {
		if s.Type != stanzaType {
			continue
		}
		w, tag, err := i.parse(s)
		if err != nil {
			return nil, err
		}
		if tag == i.key.tag() && (i.key.version == "" || i.key.version == w.key.version) {
			out = append(out, w)
		}
	}
	if len(out) > maxStanzas {
		return nil, damaged("the file names the key %s %d times: at most %d, each may cost a release", i.key, len(out), maxStanzas)
	}
	return out, nil
}

// parse reads one stanza; its key is that of i when the tag says so.
func (i *Identity) parse(s *age.Stanza) (w wrapped, tag string, err error) {
	if len(s.Args) != 3 {
		return w, "", damaged("a stanza %s with %d arguments: want 3; the file is damaged or of a newer program", stanzaType, len(s.Args))
	}
	key, err := parseKeyURL(i.key.base + "/" + s.Args[2])
	if err != nil || key.version == "" {
		return w, "", damaged("a stanza %s with the version %.64q: want 32 hex digits", stanzaType, s.Args[2])
	}
	switch kty := s.Args[0]; {
	case kty == ktyEC && len(s.Body) == hpkeBody, kty == ktyRSA && len(s.Body) >= minRSA/8 && len(s.Body) <= maxRSA/8:
	default:
		return w, "", damaged("a stanza %s with %d bytes for a key of kind %.16q: the file is damaged or of a newer program", stanzaType, len(s.Body), kty)
	}
	return wrapped{key, s.Args[0], s.Body}, s.Args[1], nil
}

func (i *Identity) unwrap(w wrapped) (key []byte, err error) {
	rel, err := i.release(i.ctx, w.key.String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rel.Material.Close()) }()
	if rel.Kty != w.kty {
		return nil, fmt.Errorf("it is of kind %.16q, the file was encrypted to %s", rel.Kty, w.kty)
	}
	agent.Erasing(func() { key, err = open(w, rel.Material.Bytes()) })
	return key, err
}

// open unwraps with the private key in pkcs8. What standard library types copy of it
// cannot be cleared here.
func open(w wrapped, pkcs8 []byte) ([]byte, error) {
	private, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, errors.New("the released key is not PKCS #8 of an EC or RSA key")
	}
	var key []byte
	switch k := private.(type) {
	case *ecdsa.PrivateKey:
		key, err = openEC(w, k)
	case *rsa.PrivateKey:
		key, err = rsa.DecryptOAEP(sha256.New(), nil, k, w.body, w.key.info())
	default:
		return nil, errors.New("the released key is neither EC nor RSA")
	}
	if err != nil || len(key) != fileKey {
		clear(key)
		return nil, errOpen
	}
	return key, nil
}

func openEC(w wrapped, k *ecdsa.PrivateKey) ([]byte, error) {
	point, err := agent.ECDH(k)
	if err != nil {
		return nil, err
	}
	sk, err := hpke.NewDHKEMPrivateKey(point)
	if err != nil {
		return nil, err
	}
	return hpke.Open(sk, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), w.key.info(), w.body)
}
