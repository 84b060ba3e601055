import java.sql.*;
import java.util.*;

/** Prints what JDBC's metadata say of the reporting views, and how many rows of each can be read with getObject. */
public class Probe {
    public static void main(String[] args) throws Exception {
        Properties who = new Properties();
        who.setProperty("user", args[1]);
        who.setProperty("password", System.getenv("PROBE_PASSWORD"));
        try (Connection connection = DriverManager.getConnection(args[0], who)) {
            DatabaseMetaData meta = connection.getMetaData();
            List<String> views = new ArrayList<>();
            try (ResultSet tables = meta.getTables(null, "reporting", "%", new String[] {"VIEW"})) {
                while (tables.next()) {
                    views.add(tables.getString("TABLE_NAME"));
                    print("view", tables.getString("TABLE_NAME"), "", tables.getString("REMARKS"));
                }
            }
            try (ResultSet columns = meta.getColumns(null, "reporting", "%", "%")) {
                while (columns.next()) {
                    print("column", columns.getString("TABLE_NAME"), columns.getString("COLUMN_NAME"),
                        columns.getString("TYPE_NAME") + "\t" + columns.getString("REMARKS"));
                }
            }
            connection.setAutoCommit(false);
            for (String view : views) {
                long rows = 0;
                try (Statement statement = connection.createStatement()) {
                    statement.setFetchSize(1000);
                    try (ResultSet result = statement.executeQuery("SELECT * FROM \"" + view + "\"")) {
                        int width = result.getMetaData().getColumnCount();
                        while (result.next()) {
                            rows++;
                            for (int index = 1; index <= width; index++) {
                                result.getObject(index);
                            }
                        }
                    }
                }
                print("rows", view, "", String.valueOf(rows));
            }
        }
    }

    private static void print(String... words) {
        System.out.println(String.join("\t", words));
    }
}
