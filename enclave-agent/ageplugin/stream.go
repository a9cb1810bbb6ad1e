package ageplugin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const (
	magic     = "age-encryption.org/v1\n"
	maxHeader = 1 << 20
)

// HeadSize is how many bytes of a file [IsAge] looks at.
const HeadSize = len(armor.Header)

// IsAge says whether a file that begins with head is one of age, armored or not.
func IsAge(head []byte) bool {
	return bytes.HasPrefix(head, []byte(magic)) || armored(head)
}

func armored(head []byte) bool { return bytes.HasPrefix(head, []byte(armor.Header)) }

// Decrypt reads an age file, armored or not, that is encrypted to the key at url, maybe
// among other recipients. The key is released before Decrypt returns. What the reader
// gives has authenticated, 64 KiB at a time; that the file is whole is known at io.EOF,
// and only then: a file that was cut ends with another error. Errors wrap [ErrFile] or
// [agent.ErrConfig], or are those of [agent.Agent.Key] and of package age.
func Decrypt(ctx context.Context, src io.Reader, release Release, url string) (io.Reader, error) {
	id, err := NewIdentity(ctx, release, url)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(src)
	head, err := in.Peek(len(armor.Header))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var file io.Reader = in
	if armored(head) {
		file = armor.NewReader(in)
	}
	header := &bounded{r: file, left: maxHeader}
	out, err := age.Decrypt(header, id)
	header.lifted = true
	if other := (*age.NoIdentityMatchError)(nil); errors.As(err, &other) {
		return nil, damaged("it is not encrypted to the key %s: its recipients are of the kinds %.256q", url, strings.Join(other.StanzaTypes, " "))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// bounded reads at most left bytes until the limit is lifted: age keeps a whole header
// in memory.
type bounded struct {
	r      io.Reader
	left   int
	lifted bool
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.lifted {
		return b.r.Read(p)
	}
	if b.left <= 0 {
		return 0, damaged("the header is longer than %d bytes", maxHeader)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Encrypt makes an age file for recipients: age1openskr1…, or a native one of age
// (age1…, age1pq1…), but no post-quantum one beside one of OpenSKR, which is
// classical: age does not mix them. Close of the result ends the file.
// Errors wrap [agent.ErrConfig].
func Encrypt(dst io.Writer, recipients ...string) (io.WriteCloser, error) {
	var to []age.Recipient
	for _, s := range recipients {
		r, err := anyRecipient(s)
		if err != nil {
			return nil, err
		}
		to = append(to, r)
	}
	w, err := age.Encrypt(dst, to...)
	if err != nil {
		return nil, bad("%w", err)
	}
	return w, nil
}

func anyRecipient(s string) (age.Recipient, error) {
	if strings.HasPrefix(s, "age1"+name+"1") {
		return ParseRecipient(s)
	}
	native, err := age.ParseRecipients(strings.NewReader(s))
	if err != nil || len(native) != 1 {
		return nil, bad("recipient %.64q: want age1%s1…, or a native recipient of age", s, name)
	}
	return native[0], nil
}
