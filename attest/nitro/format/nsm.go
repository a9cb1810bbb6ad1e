package format

import "errors"

// Bounds of the NSM driver (linux/drivers/misc/nsm.c) and of what a document holds.
const (
	MaxRequest  = 0x1000
	MaxResponse = 0x3000
	MaxField    = 1024 // bytes of user_data, nonce and public_key each
)

// Request asks the NSM for an attestation document over three strings of the
// caller's, nil where it has none.
type Request struct {
	UserData, Nonce, PublicKey []byte
}

// Members of requests and responses, in the order in which they are written.
const (
	attestation = "Attestation"
	failure     = "Error"
	document    = "document"
	userData    = "user_data"
	nonce       = "nonce"
	publicKey   = "public_key"
)

// Encode is the CBOR that the NSM takes.
func (q Request) Encode() []byte {
	b := AppendText(AppendMap(nil, 1), attestation)
	b = AppendMap(b, 3)
	b = AppendBytes(AppendText(b, userData), q.UserData)
	b = AppendBytes(AppendText(b, nonce), q.Nonce)
	return AppendBytes(AppendText(b, publicKey), q.PublicKey)
}

// DecodeRequest reads what [Request.Encode] wrote; simulated hardware does.
func DecodeRequest(b []byte) (Request, error) {
	var q Request
	if len(b) > MaxRequest {
		return q, errors.New("NSM request too large")
	}
	r := NewReader(b)
	r.TextMap(1, len(attestation), func(key string) {
		if key != attestation {
			r.Fail("request %q", key)
		}
		r.TextMap(3, len(publicKey), func(key string) {
			switch key {
			case userData:
				q.UserData = r.optional()
			case nonce:
				q.Nonce = r.optional()
			case publicKey:
				q.PublicKey = r.optional()
			default:
				r.Fail("member %q", key)
			}
		})
	})
	return q, r.Done()
}

func (r *Reader) optional() []byte {
	if r.Null() {
		return nil
	}
	return r.Bytes(MaxField)
}

// EncodeResponse is the NSM's answer with a document.
func EncodeResponse(doc []byte) []byte {
	b := AppendText(AppendMap(nil, 1), attestation)
	return AppendBytes(AppendText(AppendMap(b, 1), document), doc)
}

// EncodeError is the NSM's answer with one of its error codes, e.g. "InvalidArgument".
func EncodeError(code string) []byte {
	return AppendText(AppendText(AppendMap(nil, 1), failure), code)
}

// NSMError is an error code of the NSM.
type NSMError string

func (e NSMError) Error() string { return "the NSM answers " + string(e) }

// DecodeResponse gives the document of an answer, or its [NSMError].
func DecodeResponse(b []byte) ([]byte, error) {
	if len(b) > MaxResponse {
		return nil, errors.New("NSM response too large")
	}
	r := NewReader(b)
	var doc []byte
	var code string
	r.TextMap(1, len(attestation), func(key string) {
		switch key {
		case failure:
			code = r.Text(64)
		case attestation:
			r.TextMap(1, len(document), func(key string) {
				if key != document {
					r.Fail("member %q", key)
				}
				doc = r.Bytes(MaxResponse)
			})
		default:
			r.Fail("response %q", key)
		}
	})
	switch err := r.Done(); {
	case err != nil:
		return nil, err
	case code != "":
		return nil, NSMError(code)
	case len(doc) == 0:
		return nil, errors.New("NSM response without a document")
	}
	return doc, nil
}
