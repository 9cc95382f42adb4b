import java.net.InetSocketAddress;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import software.amazon.dynamodb.services.local.monitoring.Telemetry;
import software.amazon.dynamodb.services.local.server.DynamoDBProxyServer;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBRequestHandler;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBServerHandler;

/**
 * DynamoDB Local for tests: on loopback only, on a free port which it prints, in memory or in the folder named by the
 * first argument. It ends when its standard input does, so that it never outlives the test that started it.
 */
public final class Local {
  public static void main(String[] arguments) throws Exception {
    Telemetry.configureTelemetry("", "", false);
    boolean inMemory = arguments.length == 0;
    int port = arguments.length > 1 ? Integer.parseInt(arguments[1]) : 0;
    var requests = new LocalDynamoDBRequestHandler(0, inMemory, inMemory ? null : arguments[0], true, false);
    var handler = new LocalDynamoDBServerHandler(requests, null);
    var server = new Server(new InetSocketAddress("127.0.0.1", port));
    server.setHandler(new DynamoDBProxyServer(0, handler).setUpHandler(handler));
    server.start();
    System.out.println("http://127.0.0.1:" + ((ServerConnector) server.getConnectors()[0]).getLocalPort());
    System.out.flush();
    while (System.in.read() >= 0) {}
    Runtime.getRuntime().halt(0);
  }
}
