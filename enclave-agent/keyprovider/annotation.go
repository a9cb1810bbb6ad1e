package keyprovider

import (
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/openskr/openskr/internal/strict"
)

// Algorithms of an annotation: what the key does, then AES-256-GCM over the options.
const (
	// algRSA is RSAES-OAEP with SHA-256 of a fresh AES key, label the context, then
	// nonce, ciphertext and tag under that key.
	algRSA = "RSA-OAEP-256+A256GCM"
	// algEC is HPKE in base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM;
	// the info is the context, encapsulated key first.
	algEC = "HPKE-P256+A256GCM"
	// algOct is nonce, ciphertext and tag under the key itself.
	algOct = "A256GCM"
)

// maxAnnotation bounds an annotation in bytes: options in base64 and 2 KiB around them.
const maxAnnotation = (MaxOptions+2<<10)/3*4 + 2<<10

// annotation is what stands beside an encrypted layer, as JSON. The context, which
// the ciphertext authenticates, is the line "openskr/keyprovider/v1", the kid and the
// alg, each ended by a zero byte.
type annotation struct {
	V       int    `json:"v"`       // 1
	KID     string `json:"kid"`     // URL of the key, with its version
	Alg     string `json:"alg"`     // of the three
	Wrapped string `json:"wrapped"` // base64url without padding
}

func (a *annotation) context() []byte {
	return []byte("openskr/keyprovider/v1\x00" + a.KID + "\x00" + a.Alg + "\x00")
}

// parseAnnotation reads an annotation strictly. Anybody may have written it.
func parseAnnotation(b []byte) (*annotation, error) {
	var a annotation
	if len(b) == 0 {
		return nil, refuse(codes.InvalidArgument, "request: no annotation")
	}
	if err := strict.Unmarshal(b, maxAnnotation, &a); err != nil {
		return nil, refuse(codes.InvalidArgument, "annotation: not one of this key provider: the image was encrypted with another")
	}
	if a.V != 1 {
		return nil, refuse(codes.InvalidArgument, "annotation: version %d, this program knows 1", a.V)
	}
	if !keyURL.MatchString(a.KID) || !versioned(a.KID) {
		return nil, refuse(codes.InvalidArgument, "annotation: kid %.256q is not the URL of a key with its version", a.KID)
	}
	return &a, nil
}

// ciphertext is what Wrapped spells.
func (a *annotation) ciphertext() ([]byte, error) {
	b, err := decode(a.Wrapped)
	if err != nil || strings.ContainsAny(a.Wrapped, "\r\n") { // which the decoder skips
		return nil, refuse(codes.InvalidArgument, "annotation: wrapped is not base64url")
	}
	return b, nil
}
