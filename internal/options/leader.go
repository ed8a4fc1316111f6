/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package options

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/leaderelection"
)

// maxLease bounds how long a crash may leave all Agents without an operator.
const maxLease = time.Hour

// LeaderElection configures leader election between replicas.
type LeaderElection struct {
	Enabled   bool
	Namespace string
	// A leader that cannot renew its lease for RenewDeadline exits. The others wait for LeaseDuration.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

func (l *LeaderElection) bind(flags *pflag.FlagSet) {
	flags.BoolVar(&l.Enabled, "leader-elect", false,
		"Work only while holding the lease, so that several replicas may run.")
	flags.StringVar(&l.Namespace, "leader-election-namespace", "",
		"Namespace of the lease. Default: the operator's own, where it runs in a pod.")
	flags.DurationVar(&l.LeaseDuration, "leader-election-lease-duration", 30*time.Second,
		"How long the other replicas wait after the last renewal before one of them takes the lease: "+
			"the delay after a crash. A replica that shuts down releases the lease at once.")
	flags.DurationVar(&l.RenewDeadline, "leader-election-renew-deadline", 20*time.Second,
		"How long the leader tries to renew its lease before it exits: it survives an outage of the API server "+
			"that is shorter. Less than the lease duration.")
	flags.DurationVar(&l.RetryPeriod, "leader-election-retry-period", 2*time.Second,
		"Pause between two attempts to acquire or renew the lease.")
}

// validate checks what client-go requires, with errors that name the flag.
func (l *LeaderElection) validate() error {
	if l.Namespace != "" && len(validation.IsDNS1123Label(l.Namespace)) > 0 {
		return fmt.Errorf("--leader-election-namespace %q: must be the name of a namespace", l.Namespace)
	}
	// The Lease has whole seconds: others would ignore a fraction, and take the lease too early.
	if l.LeaseDuration < time.Second || l.LeaseDuration > maxLease || l.LeaseDuration%time.Second != 0 {
		return fmt.Errorf("--leader-election-lease-duration %s: must be whole seconds, from 1s to 1h", l.LeaseDuration)
	}
	if l.RenewDeadline <= 0 || l.RenewDeadline >= l.LeaseDuration {
		return fmt.Errorf("--leader-election-renew-deadline %s: must be more than 0 and less than --leader-election-lease-duration, which is %s",
			l.RenewDeadline, l.LeaseDuration)
	}
	if l.RetryPeriod <= 0 || l.RenewDeadline <= time.Duration(leaderelection.JitterFactor*float64(l.RetryPeriod)) {
		return fmt.Errorf("--leader-election-retry-period %s: must be more than 0, and %v times of it less than "+
			"--leader-election-renew-deadline, which is %s", l.RetryPeriod, leaderelection.JitterFactor, l.RenewDeadline)
	}
	return nil
}
