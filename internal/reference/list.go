package reference

import (
	"maps"
	"slices"
)

// Set is a summary of one.
type Set struct {
	Name    string `json:"name"`
	File    bool   `json:"file"` // of the configuration's file: read-only
	Entries int    `json:"entries"`
	Active  int    `json:"active"`
	Staged  int    `json:"staged"`
	Retired int    `json:"retired"`
}

// Sets lists up to limit sets whose name sorts after `after`, by name; more says
// whether others follow.
func (s *Service) Sets(after string, limit int) (out []Set, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now().Unix()
	names := slices.AppendSeq(slices.Collect(maps.Keys(s.sets)), maps.Keys(s.file))
	slices.Sort(names)
	for _, name := range names {
		if name <= after {
			continue
		}
		if len(out) == limit {
			return out, true
		}
		one := Set{Name: name}
		entries := s.sets[name]
		if v, ok := s.file[name]; ok {
			one.File, entries = true, ofFile(v)
		}
		for _, k := range entries {
			one.Entries++
			switch k.State(now) {
			case "active":
				one.Active++
			case "staged":
				one.Staged++
			default:
				one.Retired++
			}
		}
		out = append(out, one)
	}
	return out, false
}

// List gives up to limit entries of a set whose "kind/value" sorts after `after`,
// in that order; more says whether others follow, found whether there is that set.
func (s *Service) List(set, after string, limit int) (out []Kept, more, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, found := s.sets[set]
	if v, ok := s.file[set]; ok {
		entries, found = ofFile(v), true
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if key <= after {
			continue
		}
		if len(out) == limit {
			return out, true, true
		}
		out = append(out, *entries[key])
	}
	return out, false, found
}

// ofFile reads a set of the file as far as it has the shape of one; policies see
// all of it, whatever its shape.
func ofFile(v any) map[string]*Kept {
	out := map[string]*Kept{}
	kinds, _ := v.(map[string]any)
	for kind, v := range kinds {
		values, _ := v.(map[string]any)
		for value, v := range values {
			k := &Kept{Entry: Entry{Kind: kind, Value: value}}
			if m, ok := v.(map[string]any); ok {
				k.Label, _ = m["label"].(string)
				if until, ok := m["until"].(float64); ok { // as JSON gives numbers; nothing here acts on it
					k.Until = int64(until)
				}
			}
			out[k.key()] = k
		}
	}
	return out
}
