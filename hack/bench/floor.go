/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// floor is a bare client that does the least possible work for each Agent, at the operator's concurrency: no cache,
// no watch, no check, and it always knows the next step.
type floor struct {
	*stage
	tracker *tracker
	work    chan func(context.Context) error

	mu  sync.Mutex
	ids map[string]string // of the remote agents, by Agent
}

// startFloor starts the workers, which end with the context; the first failure ends it.
func (s *stage) startFloor(ctx context.Context, fail context.CancelCauseFunc) *floor {
	f := &floor{
		stage: s, tracker: watch(ctx, s.api, floorNamespace), ids: map[string]string{},
		work: make(chan func(context.Context) error, s.N+s.singles),
	}
	for range s.concurrency {
		go func() {
			for {
				select {
				case job := <-f.work:
					if err := job(ctx); err != nil {
						fail(fmt.Errorf("the floor: %w", err))
					}
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return f
}

// run runs a phase of the floor.
func (f *floor) run(ctx context.Context, phase string) (took timing, err error) {
	fleet, singles := names("floor", f.N), names("single", f.singles)
	before := f.processor()
	apply, remove := f.then(f.apply(floorNamespace), f.register), f.then(f.delete(floorNamespace), f.remove)
	switch phase {
	case "register":
		took, err = f.batch(ctx, f.tracker, fleet, isReady, apply)
	case "update":
		took, err = f.batch(ctx, f.tracker, fleet, isUpdated, f.then(f.change(floorNamespace, 1), f.update(2)))
	case "drift":
		mark := f.mark()
		took, err = f.batch(ctx, f.tracker, fleet, isHandled(mark), f.then(f.poke(floorNamespace, mark), f.correct(mark)))
	case "single":
		took, err = f.oneByOne(ctx, f.tracker, singles, isReady, apply)
	case "delete":
		took, err = f.batch(ctx, f.tracker, fleet, isGone, remove)
	}
	if err == nil {
		_, err = f.settle(ctx) // Garbage collection, too.
		took.Burnt = f.since(before)
	}
	if err == nil && phase == "single" {
		_, err = f.batch(ctx, f.tracker, singles, isGone, remove)
	}
	if err != nil {
		err = fmt.Errorf("the floor of %s: %w", phase, errors.Join(err, context.Cause(ctx)))
	}
	return took, err
}

// bare is the rate of registrations of Agents that already exist, so that nothing is applied at the same time.
func (f *floor) bare(ctx context.Context) (timing, error) {
	some := names("bare", min(f.N, 1000))
	if err := each(ctx, f.concurrency, some, f.apply(floorNamespace)); err != nil {
		return timing{}, err
	}
	enqueue := f.then(func(context.Context, string) error { return nil }, f.register)
	took, err := f.batch(ctx, f.tracker, some, isReady, enqueue)
	if err == nil {
		_, err = f.batch(ctx, f.tracker, some, isGone, f.then(f.delete(floorNamespace), f.remove))
	}
	if err == nil {
		_, err = f.settle(ctx)
	}
	return took, err
}

// then queues an Agent for the workers once it is applied.
func (f *floor) then(first, second func(context.Context, string) error) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		if err := first(ctx, name); err != nil {
			return err
		}
		f.work <- func(ctx context.Context) error { return second(ctx, name) }
		return nil
	}
}

// register is one POST, the finalizer, the Secret, and the status.
func (f *floor) register(ctx context.Context, name string) error {
	body, err := f.patchAgent(ctx, name, "", map[string]any{"metadata": map[string]any{"finalizers": []string{finalizer}}})
	if err != nil {
		return err
	}
	var agent struct{ Metadata struct{ UID string } }
	if err := json.Unmarshal(body, &agent); err != nil {
		return err
	}
	var made struct{ ID, Token string }
	err = f.ask(ctx, http.MethodPost, "", map[string]any{
		"name": name, "machineID": name, "type": "fluentbit", "version": "v4.0.0", "edition": "community",
		"flags": nil, "rawConfig": configText(f.rawConfig, 0),
	}, &made)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.ids[name] = made.ID
	f.mu.Unlock()
	secret := object("v1", "Secret", name+"-token", map[string]any{
		"metadata": map[string]any{"name": name + "-token", "ownerReferences": []map[string]any{{
			"apiVersion": apiVersion, "kind": "Agent", "name": name, "uid": agent.Metadata.UID,
		}}},
		"stringData": map[string]string{"id": made.ID, "token": made.Token},
	})
	if err := f.floorAPI.Post().AbsPath(secretsPath(floorNamespace)).Body(secret).Do(ctx).Error(); err != nil {
		return err
	}
	return f.status(ctx, name, map[string]any{
		"observedGeneration": 1, "id": made.ID, "machineID": name, "projectID": floorProject, "url": f.cloud.Service,
		"cloudProjectUID": agent.Metadata.UID, "registrationIntent": registration, "origin": "Registered",
		"tokenSecretRef": map[string]string{"name": name + "-token"},
		"applied":        map[string]any{"generation": 1, "fields": appliedFields, "tokenSecretResourceVersion": "1"},
		"agent":          map[string]string{"name": name, "version": "v4.0.0", "environmentName": "default", "createdAt": longAgo},
		"conditions":     readyCondition,
	})
}

// update is one PATCH and the status.
func (f *floor) update(generation int) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		if err := f.ask(ctx, http.MethodPatch, f.id(name), map[string]any{"rawConfig": configText(f.rawConfig, 1)}, nil); err != nil {
			return err
		}
		return f.status(ctx, name, map[string]any{"observedGeneration": generation})
	}
}

// correct is one GET, one PATCH and the status.
func (f *floor) correct(mark string) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		if err := f.ask(ctx, http.MethodGet, f.id(name), nil, &struct{ ID string }{}); err != nil {
			return err
		}
		if err := f.ask(ctx, http.MethodPatch, f.id(name), map[string]any{"rawConfig": configText(f.rawConfig, 1)}, nil); err != nil {
			return err
		}
		return f.status(ctx, name, map[string]any{"lastHandledReconcileAt": mark})
	}
}

// remove is one DELETE and the finalizer. The garbage collector deletes the Secret.
func (f *floor) remove(ctx context.Context, name string) error {
	if err := f.ask(ctx, http.MethodDelete, f.id(name), nil, nil); err != nil {
		return err
	}
	_, err := f.patchAgent(ctx, name, "", map[string]any{"metadata": map[string]any{"finalizers": nil}})
	return err
}

// The parts of a status that all Agents share, as long as those that the operator writes.
const (
	longAgo      = "2026-01-01T00:00:00Z"
	registration = longAgo + "/f1be0c1dd478be26.c4719afa571fe368-9c2e62c0873c4922871bae994536be54"
)

var appliedFields = map[string]string{"rawConfig": "473438fa57cc7bb0", "version": "a48144850be3f06d"}

var readyCondition = []map[string]any{{
	"type": "Ready", "status": "True", "reason": "Applied", "message": "The remote agent is as declared",
	"observedGeneration": 1, "lastTransitionTime": longAgo,
}}

func (f *floor) id(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "/" + f.ids[name]
}

func (f *floor) status(ctx context.Context, name string, status map[string]any) error {
	_, err := f.patchAgent(ctx, name, "/status", map[string]any{"status": status})
	return err
}

func (f *floor) patchAgent(ctx context.Context, name, subresource string, change map[string]any) ([]byte, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	path := agentsPath(floorNamespace) + "/" + name + subresource
	// Strict: a field that no longer exists would make the floor's work less than the operator's.
	return f.floorAPI.Patch(types.MergePatchType).AbsPath(path).Param("fieldValidation", "Strict").Body(body).Do(ctx).Raw()
}

// ask sends a request to the fake cloud.
func (f *floor) ask(ctx context.Context, method, id string, body map[string]any, into any) error {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return err
		}
	}
	return f.cloud.do(ctx, method, f.cloud.Service+"/v1/agents"+id, f.cloud.Tokens[floorProject], encoded, into)
}
