// Reads a compose file as `docker compose` does, with its own loader and schema, and prints what it
// comes to: `go run . ../docker-compose.yaml PROFILE…`.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:2], cli.WithDotEnv, cli.WithProfiles(os.Args[2:]), cli.WithResolvedPaths(true))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	text, _ := project.MarshalJSON()
	os.Stdout.Write(text)
}
