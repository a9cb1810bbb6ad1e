package telemetry

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// other is the label of a value outside of its closed list.
const other = "other"

// Metrics are the numbers of one broker. Labels: door, route (operation names),
// reason and status class, all from lists given at the start, so that no caller
// can grow them.
type Metrics struct {
	registry *prometheus.Registry
	doors    map[string]bool
	routes   map[string]bool
	reasons  map[string]bool

	requests *prometheus.HistogramVec
	refusals *prometheus.CounterVec
	releases *prometheus.HistogramVec
	commit   prometheus.Histogram
	panics   prometheus.Counter
	expiries prometheus.Counter

	collateral *prometheus.CounterVec
	kinds      map[string]bool
	outcomes   map[string]bool
}

// Names are the closed lists that labels come from.
type Names struct {
	Doors, Routes, Reasons []string
	Kinds, Outcomes        []string // of collateral
}

// NewMetrics registers everything on a registry of its own.
func NewMetrics(version string, n Names) *Metrics {
	buckets := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	m := &Metrics{
		registry: prometheus.NewRegistry(), doors: set(n.Doors), routes: set(n.Routes), reasons: set(n.Reasons),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "openskr_request_seconds", Help: "Time to answer a request, by operation and status class.", Buckets: buckets,
		}, []string{"route", "status"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "openskr_refusals_total", Help: "Refused requests, by operation and reason (docs/reasons.md).",
		}, []string{"route", "reason"}),
		releases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "openskr_release_seconds", Help: "Time to decide on a release, by door and outcome: allow or the reason.", Buckets: buckets,
		}, []string{"door", "reason"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "openskr_log_commit_seconds", Help: "Time of one durable commit of the log.", Buckets: buckets,
		}),
		kinds: set(n.Kinds), outcomes: set(n.Outcomes),
		collateral: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "openskr_collateral_total", Help: "What came of asking for documents of AMD, Intel and token issuers, by kind and outcome.",
		}, []string{"kind", "outcome"}),
		expiries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "openskr_keys_near_expiry_total", Help: "Key versions whose near expiry was told, as their rotation policy says.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "openskr_panics_total", Help: "Requests that ended in a contained panic."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "openskr_build_info", Help: "1, labelled with the version.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.refusals, m.releases, m.commit, m.panics, m.expiries, m.collateral, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func set(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

func closed(list map[string]bool, v string) string {
	if list[v] {
		return v
	}
	return other
}

// Request counts an answered request.
func (m *Metrics) Request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(closed(m.routes, route), class(status)).Observe(took.Seconds())
}

// Refusal counts a refused request.
func (m *Metrics) Refusal(route, reason string) {
	m.refusals.WithLabelValues(closed(m.routes, route), closed(m.reasons, reason)).Inc()
}

// Release counts a decision; reason is "" for an allowed one.
func (m *Metrics) Release(door, reason string, took time.Duration) {
	if reason == "" {
		reason = "allow"
	} else {
		reason = closed(m.reasons, reason)
	}
	m.releases.WithLabelValues(closed(m.doors, door), reason).Observe(took.Seconds())
}

// Commit reports one durable commit.
func (m *Metrics) Commit(took time.Duration) { m.commit.Observe(took.Seconds()) }

// Collateral counts what came of asking for a document.
func (m *Metrics) Collateral(kind, outcome string) {
	m.collateral.WithLabelValues(closed(m.kinds, kind), closed(m.outcomes, outcome)).Inc()
}

// NearExpiry counts a key version that will expire soon.
func (m *Metrics) NearExpiry() { m.expiries.Inc() }

// Panic counts a contained panic.
func (m *Metrics) Panic() { m.panics.Inc() }

// Gauge registers a number that is read when metrics are, e.g. "openskr_keys".
func (m *Metrics) Gauge(name, help string, read func() float64) error {
	return m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// CollateralGauge registers a number of one kind of collateral.
func (m *Metrics) CollateralGauge(name, help, kind string, read func() float64) error {
	return m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: name, Help: help, ConstLabels: prometheus.Labels{"kind": closed(m.kinds, kind)},
	}, read))
}

// Text gives every number in Prometheus' text format, and its media type.
func (m *Metrics) Text() (body []byte, mediaType string, err error) {
	req, err := http.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	if err != nil {
		return nil, "", err
	}
	w := &page{header: http.Header{}}
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(w, req)
	if w.status != 0 && w.status != http.StatusOK {
		return nil, "", fmt.Errorf("metrics: status %d", w.status)
	}
	return w.body.Bytes(), w.header.Get("Content-Type"), nil
}

// page keeps what promhttp writes, so that the API answers it like all else.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *page) Header() http.Header         { return p.header }
func (p *page) WriteHeader(status int)      { p.status = status }
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }

func class(status int) string {
	if status < 100 || status > 599 {
		return other
	}
	return strconv.Itoa(status/100) + "xx"
}
