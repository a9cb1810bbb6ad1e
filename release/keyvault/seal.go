package keyvault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Sizes of the sealing, in bytes.
const (
	dekSize        = 32
	saltSize       = 32
	commitmentSize = 32
)

// errIntegrity says that a row is not what was sealed. It does not say which
// column differs: nothing in the row can be believed.
var errIntegrity = errors.New("row does not match its commitment: it was changed outside the broker, or belongs to another deployment or vault key")

// aad is the canonical encoding of every column of r but the sealing itself.
// Each field has a length in front, so that no two rows encode alike. A new
// column must be added here; a test goes over the fields of Row.
func aad(deployment string, r *Row) []byte {
	b := make(canonical, 0, 512)
	// Live keys keep the form that they had before there was anything else in a vault,
	// so that older stores open. No row has both forms.
	if r.Collection == Keys && r.ContentType == "" && r.Deleted == 0 && r.Purge == 0 {
		b.str("openskr/key/v1")
	} else {
		b.str("openskr/version/v2")
		b.str(string(r.Collection))
		b.str(r.ContentType)
		b.num(r.Deleted)
		b.num(r.Purge)
	}
	b.str(deployment)
	b.str(r.Vault)
	b.str(r.ObjectID)
	b.str(r.Name)
	b.str(r.Version)
	b.num(r.Seq)
	b.num(r.Generation)
	b.flag(r.Attributes.Enabled)
	b.num(r.Attributes.NotBefore)
	b.num(r.Attributes.Expires)
	b.flag(r.Attributes.Exportable)
	b.flag(r.AttestedOnly)
	// The digest column is what records carry; the data is what is evaluated.
	digest := sha256.Sum256(r.Policy.Data)
	b.str(r.Policy.ContentType)
	b.bytes(digest[:])
	b.bytes(r.Policy.Digest[:])
	b.flag(r.Policy.Immutable)
	b.str(r.Kty)
	b.str(r.Crv)
	b.num(int64(r.Size))
	b.num(int64(len(r.KeyOps)))
	for _, op := range r.KeyOps {
		b.str(op)
	}
	public := sha256.Sum256(r.Public)
	b.bytes(public[:])
	b.tags(r.Tags)
	b.num(r.DEKEpoch)
	b.num(r.CreatedIndex)
	b.num(r.Created)
	b.num(r.Updated)
	return b
}

// canonical is an encoding under construction: each value after its length in
// four bytes, numbers in eight, big endian.
type canonical []byte

func (c *canonical) bytes(b []byte) {
	*c = append(binary.BigEndian.AppendUint32(*c, uint32(len(b))), b...)
}

func (c *canonical) str(s string) {
	*c = append(binary.BigEndian.AppendUint32(*c, uint32(len(s))), s...)
}

func (c *canonical) num(n int64) {
	*c = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(*c, 8), uint64(n))
}

func (c *canonical) flag(f bool) {
	v := byte(0)
	if f {
		v = 1
	}
	c.bytes([]byte{v})
}

func (c *canonical) tags(tags map[string]string) {
	c.num(int64(len(tags)))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		c.str(k)
		c.str(tags[k])
	}
}

// derive gives the AES key of one row and the commitment to it. The key depends
// on every column through aad, so each seal has a key of its own and GCM's limit
// on random nonces does not count; the commitment makes the key the only one that
// the sealed bytes open under.
func derive(dek, salt, aad []byte) (key, commitment []byte, err error) {
	if len(dek) != dekSize || len(salt) != saltSize {
		return nil, nil, errors.New("vault key or salt of wrong size")
	}
	okm, err := hkdf.Key(sha256.New, dek, salt, string(aad), 32+commitmentSize)
	if err != nil {
		return nil, nil, err
	}
	return okm[:32], okm[32:], nil
}

// seal fills Salt, Commitment and Sealed of r, whose other columns must be final.
func seal(dek []byte, deployment string, r *Row, payload []byte) error {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	ad := aad(deployment, r)
	key, commitment, err := derive(dek, salt, ad)
	if err != nil {
		return err
	}
	defer clear(key)
	gcm, err := aead(key)
	if err != nil {
		return err
	}
	r.Salt, r.Commitment, r.Sealed = salt, commitment, gcm.Seal(nil, nil, payload, ad)
	return nil
}

// authentic checks the commitment of r and gives its record key, which the caller
// clears. It opens nothing, so reads of metadata use it too.
func authentic(dek []byte, deployment string, r *Row) (key, ad []byte, err error) {
	ad = aad(deployment, r)
	key, commitment, err := derive(dek, r.Salt, ad)
	if err != nil {
		return nil, nil, fmt.Errorf("%w (%w)", errIntegrity, err)
	}
	if subtle.ConstantTimeCompare(commitment, r.Commitment) != 1 {
		clear(key)
		return nil, nil, errIntegrity
	}
	return key, ad, nil
}

// unseal gives the payload of r. The caller clears it.
func unseal(dek []byte, deployment string, r *Row) ([]byte, error) {
	key, ad, err := authentic(dek, deployment, r)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	gcm, err := aead(key)
	if err != nil {
		return nil, err
	}
	payload, err := gcm.Open(nil, nil, r.Sealed, ad)
	if err != nil {
		return nil, errIntegrity
	}
	return payload, nil
}

func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
