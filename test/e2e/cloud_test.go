/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// cloudName is the name by which pods find the fake of Calyptia Cloud: a Service whose only endpoint is this machine.
const (
	cloudNamespace = "e2e-cloud"
	cloudName      = "calyptia-cloud." + cloudNamespace + ".svc.cluster.local"
)

// service is the fake of Calyptia Cloud, with a certificate of a private CA.
type service struct {
	*cloudtest.Server
	ca       []byte
	listener net.Listener
	server   *http.Server
}

func (s *site) serveCloud(ctx context.Context, address string) (*service, error) {
	cert, key, err := certutil.GenerateSelfSignedCertKey(cloudName, []net.IP{net.ParseIP(address)}, nil)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	c := &service{Server: cloudtest.New(cloudtest.Settings{}), ca: cert}
	if c.listener, err = net.Listen("tcp", net.JoinHostPort(address, "0")); err != nil {
		return nil, fmt.Errorf("E2E_ADDRESS: %w", err)
	}
	c.server = &http.Server{Handler: c.Server, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	go func() { _ = c.server.ServeTLS(c.listener, "", "") }()
	return c, s.name(ctx, address, c.listener.Addr().(*net.TCPAddr).Port)
}

// name creates the Service by which pods find a port of this machine.
func (s *site) name(ctx context.Context, address string, port int) error {
	meta := metav1.ObjectMeta{Namespace: cloudNamespace, Name: "calyptia-cloud"}
	slice := meta
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: meta.Name}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cloudNamespace}},
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}},
		&discoveryv1.EndpointSlice{
			ObjectMeta: slice, AddressType: discoveryv1.AddressTypeIPv4,
			Ports:     []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(port))}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
		},
	} {
		// A cluster that is kept may have one from an earlier run.
		err := s.client.Create(ctx, object)
		if apierrors.IsAlreadyExists(err) {
			if _, is := object.(*discoveryv1.EndpointSlice); is {
				err = s.client.Update(ctx, object)
			} else {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *service) close() error {
	return errors.Join(c.server.Close(), ignoreClosed(c.listener.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// newProject is a separate project with a token.
func (c *service) newProject() (string, cloud.Token) {
	id := uuid.NewString()
	return id, c.AddProject(id)
}
