package keyprovider

import (
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/grpc/codes"

	ocicrypt "github.com/containers/ocicrypt/utils/keyprovider"

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

// output is the document inside an answer.
type output struct {
	Wrap   *wrapResult   `json:"keywrapresults,omitempty"`
	Unwrap *unwrapResult `json:"keyunwrapresults,omitempty"`
}

type wrapResult struct {
	Annotation []byte `json:"annotation"`
}

type unwrapResult struct {
	Options []byte `json:"optsdata"`
}

// wrapRequest is what WrapKey is asked for.
type wrapRequest struct {
	key     string // URL
	options []byte
}

func parseWrap(b []byte) (*wrapRequest, error) {
	in, err := parseInput(b, "keywrap")
	if err != nil {
		return nil, err
	}
	if len(in.Unwrap.Annotation) > 0 || in.Wrap.Config == nil {
		return nil, refuse(codes.InvalidArgument, "request: not one of keywrap")
	}
	if n := len(in.Wrap.Options); n == 0 || n > MaxOptions {
		return nil, refuse(codes.InvalidArgument, "request: options of %d bytes, want 1 to %d", n, MaxOptions)
	}
	named := in.Wrap.Config.Parameters[Provider]
	if len(named) != 1 {
		return nil, refuse(codes.InvalidArgument, "request: %d keys for provider %s, want one: --encryption-key provider:%[2]s:https://HOST/keys/NAME", len(named), Provider)
	}
	return &wrapRequest{key: string(named[0]), options: in.Wrap.Options}, nil
}

func parseUnwrap(b []byte) (*annotation, error) {
	in, err := parseInput(b, "keyunwrap")
	if err != nil {
		return nil, err
	}
	if len(in.Wrap.Options) > 0 {
		return nil, refuse(codes.InvalidArgument, "request: not one of keyunwrap")
	}
	return parseAnnotation(in.Unwrap.Annotation)
}

func parseInput(b []byte, op string) (*input, error) {
	var in input
	if err := strict.Unmarshal(b, maxMessage, &in); err != nil {
		// The text of the error may quote the caller's keys.
		return nil, refuse(codes.InvalidArgument, "request: not the JSON of ocicrypt's key provider protocol")
	}
	if in.Op != op {
		return nil, refuse(codes.InvalidArgument, "request: operation %.16q in a call of %s", in.Op, op)
	}
	return &in, nil
}

func wrapped(a *annotation) (*ocicrypt.KeyProviderKeyWrapProtocolOutput, error) {
	b, err := strict.Marshal(a)
	if err != nil {
		return nil, err
	}
	return answer(&output{Wrap: &wrapResult{b}})
}

func unwrapped(options []byte) (*ocicrypt.KeyProviderKeyWrapProtocolOutput, error) {
	return answer(&output{Unwrap: &unwrapResult{options}})
}

func answer(out *output) (*ocicrypt.KeyProviderKeyWrapProtocolOutput, error) {
	b, err := strict.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &ocicrypt.KeyProviderKeyWrapProtocolOutput{KeyProviderKeyWrapProtocolOutput: b}, nil
}
