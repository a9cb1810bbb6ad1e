package main

import "slices"

// needRestart names the members in which c differs from old and which the
// listener and the store stand on: SIGHUP does not exchange them.
func (c *Config) needRestart(old *Config) []string {
	var out []string
	for name, differs := range map[string]bool{
		"kek": c.KEK != old.KEK, "high_water": c.HighWater != old.HighWater, "listen": c.Listen != old.Listen, "hosts": !slices.Equal(c.Hosts, old.Hosts),
		"vault_suffixes": !slices.Equal(c.VaultSuffixes, old.VaultSuffixes), "resource": c.Resource != old.Resource, "release_signature": c.ReleaseSignature != old.ReleaseSignature,
		"nonce_ttl": c.NonceTTL != old.NonceTTL, "requests_per_second": c.RequestsPerSecond != old.RequestsPerSecond,
		"collateral_offline": c.CollateralOffline != old.CollateralOffline,
		"connections":        c.Connections != old.Connections, "connections_per_source": c.ConnectionsPerSource != old.ConnectionsPerSource,
		"throttle": c.Throttle != old.Throttle, "trusted_proxies": !slices.Equal(c.TrustedProxies, old.TrustedProxies),
		"amd_kds": !slices.Equal(c.AMDKDS, old.AMDKDS), "intel_pcs": !slices.Equal(c.IntelPCS, old.IntelPCS),
		"token_issuers or oidc_issuers": c.newIssuerURL(old), "client_ca": c.newClientCA(old),
	} {
		if differs {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// keep takes over from old what needRestart names, but for issuers: one that was
// taken away is not believed any more.
func (c *Config) keep(old *Config) {
	c.Listen, c.Hosts, c.KEK, c.NonceTTL, c.RequestsPerSecond = old.Listen, old.Hosts, old.KEK, old.NonceTTL, old.RequestsPerSecond
	c.HighWater = old.HighWater
	c.VaultSuffixes, c.Resource, c.ReleaseSignature = old.VaultSuffixes, old.Resource, old.ReleaseSignature
	c.Throttle, c.TrustedProxies = old.Throttle, old.TrustedProxies
	c.Connections, c.ConnectionsPerSource = old.Connections, old.ConnectionsPerSource
	c.CollateralOffline, c.AMDKDS, c.IntelPCS = old.CollateralOffline, old.AMDKDS, old.IntelPCS
}
