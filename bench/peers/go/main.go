// A check that does nothing but let pass, over grpc-go: what everybody's check costs at least.
//
// Usage: nothing ADDRESS, with unix:PATH or HOST:PORT.
package main

import (
	"context"
	"log"
	"net"
	"os"
	"strings"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
)

type nothing struct {
	auth.UnimplementedAuthorizationServer
}

func (nothing) Check(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) {
	return &auth.CheckResponse{
		Status:       &status.Status{},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{}},
	}, nil
}

func main() {
	network, address := "tcp", os.Args[1]
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		network, address = "unix", path
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	auth.RegisterAuthorizationServer(server, nothing{})
	log.Fatal(server.Serve(listener))
}
