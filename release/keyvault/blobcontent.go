package keyvault

import (
	"bytes"
	"crypto/sha256"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// parseContent reads the content of a backup. It was written by a broker of this
// deployment, perhaps by another version: what does not fit is refused.
func parseContent(h header, content []byte) (*backup, error) {
	text, rest, err := cutPart(content, MaxBackup)
	if err != nil {
		return nil, invalidBackup("%w", err)
	}
	var c columns
	if err := decodeOnly(text, &c); err != nil {
		return nil, invalidBackup("%w", err)
	}
	if !ValidName(h.Name) || !ValidVersion(h.ObjectID) || len(c.Versions) == 0 || len(c.Versions) != h.Versions || len(c.Versions) > maxBackupVersions {
		return nil, invalidBackup("its header does not fit what it holds")
	}
	policies := map[receipt.Digest][]byte{}
	for _, data := range c.Policies {
		policies[sha256.Sum256(data)] = data
	}
	b := &backup{header: h}
	for i := range c.Versions {
		var payload []byte
		if payload, rest, err = cutPart(rest, MaxBackup); err != nil {
			b.clear()
			return nil, invalidBackup("%w", err)
		}
		row, err := c.Versions[i].row(h, int64(i+1), policies)
		if err != nil {
			b.clear()
			return nil, err
		}
		b.versions = append(b.versions, saved{row, bytes.Clone(payload)})
	}
	if len(rest) != 0 {
		b.clear()
		return nil, invalidBackup("it goes on after its end")
	}
	return b, nil
}

// row makes the version that c describes, number seq of its object.
func (c *column) row(h header, seq int64, policies map[receipt.Digest][]byte) (*Row, error) {
	if !ValidVersion(c.Version) || c.Seq != seq || c.Generation < 1 || (c.Kty == "") != (h.Collection == Secrets) {
		return nil, invalidBackup("version %d is not whole", seq)
	}
	row := &Row{
		Vault: h.Vault, Collection: h.Collection, Name: h.Name, Version: c.Version, ObjectID: h.ObjectID, Seq: seq, Generation: c.Generation,
		Kty: c.Kty, Crv: c.Crv, Size: c.Size, KeyOps: c.KeyOps, Attributes: c.Attributes, Created: c.Created, Updated: c.Updated, Tags: c.Tags,
		AttestedOnly: c.AttestedOnly, Public: c.Public, ContentType: c.ContentType,
	}
	if c.PolicyType != "" {
		data, ok := policies[c.Policy]
		if !ok {
			return nil, invalidBackup("version %d has a policy that is not there", seq)
		}
		row.Policy = release.ReleasePolicy{ContentType: c.PolicyType, Data: data, Immutable: c.Immutable, Digest: c.Policy}
	}
	return row, nil
}
