package reference

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openskr/openskr/release"
)

// Config is what a Service stands on; all but File are required.
type Config struct {
	Objects release.Objects
	// Publish takes data.references in their effective form; the policy engine's SetReferences.
	Publish func(doc map[string]any) error
	// Record makes the base of a record from the call in ctx.
	Record func(ctx context.Context, op string) *release.Record
	Now    func() time.Time
	// File holds the sets of the configuration's file, which nobody changes here.
	File map[string]any
}

// Service keeps all entries in memory, as they are in the store, and publishes
// what is in force. It is safe for concurrent use.
type Service struct {
	cfg     Config
	window  atomic.Pointer[window] // what is published; nil: must be made again
	doubted atomic.Bool            // doubt is not empty

	mu    sync.Mutex
	sets  map[string]map[string]*Kept // set → "kind/value"
	count int
	file  map[string]any
	doubt map[string]time.Time // objects whose last change may have happened, and since when
}

// window is the time, in Unix seconds, for which what is published is right.
type window struct{ from, until int64 }

// New reads every entry and publishes what is in force. A set that is both in the
// store and in the file is an error.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.Objects == nil || c.Publish == nil || c.Record == nil || c.Now == nil {
		return nil, errors.New("reference: a part is missing")
	}
	s := &Service{cfg: c, sets: map[string]map[string]*Kept{}, doubt: map[string]time.Time{}}
	for after, page := "", 1000; page == 1000; {
		objects, err := c.Objects.List(ctx, release.ObjectReference, after, page)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if err := s.put(o); err != nil {
				return nil, err
			}
			after = o.Name
		}
		page = len(objects)
	}
	return s, s.SetFile(c.File)
}

// put takes the state of an object, unless a newer one is known.
func (s *Service) put(o *release.Object) error {
	name, k, err := decode(o)
	if err != nil {
		return err
	}
	set := s.sets[name]
	if set == nil {
		set = map[string]*Kept{}
		s.sets[name] = set
	}
	switch old := set[k.key()]; {
	case old == nil:
		s.count++
	case old.Generation >= k.Generation:
		return nil
	}
	set[k.key()] = k
	s.window.Store(nil)
	return nil
}

// SetFile replaces the sets of the configuration's file, or changes nothing: a set
// that is in the store as well is an error.
func (s *Service) SetFile(file map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.clash(file); err != nil {
		return err
	}
	before := s.file
	s.file = file
	if err := s.publish(); err != nil {
		s.file = before
		return err
	}
	return nil
}

// CheckFile says whether SetFile would refuse file for its names.
func (s *Service) CheckFile(file map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clash(file)
}

func (s *Service) clash(file map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(file)) {
		if s.sets[name] != nil {
			return release.Refuse(release.ReasonConflict,
				"reference set %.64q is in the configuration's file and in the store: rename it in the file", name)
		}
	}
	return nil
}

// publish makes and publishes what is in force now. s.mu is held.
func (s *Service) publish() error {
	s.window.Store(nil)
	doc, w := effective(s.sets, s.file, s.cfg.Now().Unix())
	if err := s.cfg.Publish(doc); err != nil {
		return err
	}
	s.window.Store(&w)
	return nil
}

// Current makes sure that what is published is right at this moment: an entry
// comes into force and leaves it on the second, without a timer that could be
// late. Its error means that references may be out of date.
func (s *Service) Current(ctx context.Context) error {
	if s.current() && !s.doubted.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.settle(ctx); err != nil {
		return err
	}
	if s.current() {
		return nil
	}
	return s.publish()
}

func (s *Service) current() bool {
	now, w := s.cfg.Now().Unix(), s.window.Load()
	return w != nil && w.from <= now && now < w.until
}

// settled is how long a change whose outcome is not known is looked for.
const settled = 10 * time.Minute

// settle reads again the objects whose last change may have been committed
// although its caller was told to try again. s.mu is held.
func (s *Service) settle(ctx context.Context) error {
	for name, since := range s.doubt {
		o, err := s.cfg.Objects.Object(ctx, release.ObjectReference, name)
		switch {
		case err == nil:
			if err := s.put(o); err != nil {
				return err
			}
		case release.ReasonOf(err) != release.ReasonNotFound:
			return err
		}
		if s.cfg.Now().Sub(since) > settled {
			delete(s.doubt, name)
		}
	}
	s.doubted.Store(len(s.doubt) > 0)
	return nil
}
