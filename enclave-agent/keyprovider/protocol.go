package keyprovider

import (
	"encoding/base64"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/grpc/codes"

	"github.com/openskr/openskr/internal/strict"
)

// input is the document inside a request. Clients send the members of both
// operations and leave those of the other empty.
type input struct {
	Op   string `json:"op"`
	Wrap struct {
		Config *struct {
			// Parameters holds for each scheme what --encryption-key said; ours is the key's URL.
			Parameters map[string][][]byte
			// DecryptConfig is for adding a recipient to an encrypted image; not ours to read.
			DecryptConfig jsontext.Value
		} `json:"ec"`
		Options []byte `json:"optsdata"`
	} `json:"keywrapparams"`
	Unwrap struct {
		Config     jsontext.Value `json:"dc"` // of the caller; nothing in it concerns us
		Annotation []byte         `json:"annotation"`
	} `json:"keyunwrapparams"`
}

// output is the document inside an answer that holds no key; see [unwrapped].
type output struct {
	Wrap *wrapResult `json:"keywrapresults,omitempty"`
}

type wrapResult struct {
	Annotation []byte `json:"annotation"`
}

const (
	opWrap   = "keywrap"
	opUnwrap = "keyunwrap"
)

func parseInput(b []byte) (*input, error) {
	var in input
	if err := strict.Unmarshal(b, MaxRequest, &in); err != nil {
		// The text of the error may quote the caller's keys.
		return nil, refuse(codes.InvalidArgument, "request: not the JSON of ocicrypt's key provider protocol")
	}
	return &in, nil
}

// wraps checks a request to wrap, and gives the URL of the key.
func (in *input) wraps() (url string, err error) {
	if in.Op != opWrap || len(in.Unwrap.Annotation) > 0 || in.Wrap.Config == nil {
		return "", refuse(codes.InvalidArgument, "request: operation %.16q, want one of %s", in.Op, opWrap)
	}
	if n := len(in.Wrap.Options); n == 0 || n > MaxOptions {
		return "", refuse(codes.InvalidArgument, "request: options of %d bytes, want 1 to %d", n, MaxOptions)
	}
	named := in.Wrap.Config.Parameters[Provider]
	if len(named) != 1 {
		return "", refuse(codes.InvalidArgument, "request: %d keys for provider %s, want one: --encryption-key provider:%[2]s:https://HOST/keys/NAME", len(named), Provider)
	}
	return string(named[0]), nil
}

// unwraps checks a request to unwrap, and gives its annotation.
func (in *input) unwraps() (*annotation, error) {
	if in.Op != opUnwrap || len(in.Wrap.Options) > 0 {
		return nil, refuse(codes.InvalidArgument, "request: operation %.16q, want one of %s", in.Op, opUnwrap)
	}
	return parseAnnotation(in.Unwrap.Annotation)
}

// output is the answer that carries an annotation.
func (a *annotation) output() ([]byte, error) {
	b, err := strict.Marshal(a)
	if err != nil {
		return nil, err
	}
	return strict.Marshal(output{Wrap: &wrapResult{b}})
}

// unwrapped is the answer that carries a layer's options. It is written into memory of its
// own, which the caller clears: an encoder would keep a copy for its next document.
func unwrapped(options []byte) []byte {
	const head, tail = `{"keyunwrapresults":{"optsdata":"`, `"}}`
	out := make([]byte, 0, len(head)+base64.StdEncoding.EncodedLen(len(options))+len(tail))
	out = append(out, head...)
	out = base64.StdEncoding.AppendEncode(out, options)
	return append(out, tail...)
}
