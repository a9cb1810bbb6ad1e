package keyvault

import (
	"net/url"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
)

func call(op string) *route.Call {
	return &route.Call{
		Operation: op, Host: "h", Query: url.Values{"api-version": {"7.4"}}, Caller: &identity.Caller{ID: "c"}, Params: map[string]string{},
	}
}
