package keyvault

import (
	"context"

	"github.com/openskr/openskr/release"
)

// Count says what Verify saw.
type Count struct {
	Keys, Secrets, Versions int
}

// Verify opens every version of all that is in a vault, live and deleted, and forgets
// it at once: the drill that says whether a store, a backup or a restored copy is
// whole. Nothing of the material is given out.
func (s *Service) Verify(ctx context.Context, vault string) (Count, error) {
	var n Count
	for _, c := range []Collection{Keys, Secrets} {
		for _, deleted := range []bool{false, true} {
			if err := s.verifyList(ctx, vault, c, deleted, &n); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (s *Service) verifyList(ctx context.Context, vault string, c Collection, deleted bool, n *Count) error {
	const page = 256
	for after := ""; ; {
		latest, err := s.Store.Latest(ctx, vault, c, deleted, after, page)
		if err != nil || len(latest) == 0 {
			return err
		}
		for _, l := range latest {
			versions, err := s.verifyObject(ctx, l)
			if err != nil {
				return err
			}
			if n.Versions, after = n.Versions+versions, l.Name; c == Keys {
				n.Keys++
			} else {
				n.Secrets++
			}
		}
	}
}

func (s *Service) verifyObject(ctx context.Context, latest *Row) (n int, err error) {
	const page = 256
	for seq := int64(0); ; {
		rows, err := s.Store.Versions(ctx, latest.Vault, latest.Collection, latest.Name, seq, page)
		if err != nil {
			return n, err
		}
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			payload, err := s.open(ctx, r)
			clear(payload)
			if err != nil {
				return n, err
			}
			n, seq = n+1, r.Seq
		}
	}
	if int64(n) != latest.Seq {
		return n, release.Refuse(release.ReasonIntegrity, "%s/%s has %d versions, its latest is number %d", latest.Collection, latest.Name, n, latest.Seq)
	}
	return n, nil
}
