import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.hl7.fhir.r5.elementmodel.Manager.FhirFormat;
import org.hl7.fhir.r5.model.OperationOutcome;
import org.hl7.fhir.r5.model.OperationOutcome.OperationOutcomeIssueComponent;
import org.hl7.fhir.utilities.FhirPublication;
import org.hl7.fhir.validation.ValidationEngine;

/**
 * Files on standard input, one a line (behind a tab the profiles to meet, with commas), and on standard
 * output for each a line of JSON: {"file": path, "issues": [[severity, code, expression, text], ...]}, or
 * {"file": path, "crash": text}. Arguments are packages beside R4's, as name#version. No terminology server.
 */
public final class Hl7Validator {
  public static void main(String[] packages) throws Exception {
    PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    System.setOut(System.err); // the engine talks

    ValidationEngine engine = new ValidationEngine.ValidationEngineBuilder()
        .withVersion("4.0.1")
        .withNoTerminologyServer()
        .withCanRunWithoutTerminologyServer(true)
        .withThoVersion(null)
        .withExtensionsVersion(null)
        .fromSource("hl7.fhir.r4.core#4.0.1");
    engine.setTerminologyServer(null, null, FhirPublication.R4, false);
    for (String name : packages) {
      engine.loadPackage(name.substring(0, name.indexOf('#')), name.substring(name.indexOf('#') + 1));
    }
    engine.prepare();

    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] parts = line.split("\t");
      answers.println("{\"file\":" + quoted(parts[0]) + "," + judged(engine, parts) + "}");
    }
    System.exit(0); // the engine leaves threads behind
  }

  private static String judged(ValidationEngine engine, String[] parts) {
    List<String> profiles = parts.length > 1 ? Arrays.asList(parts[1].split(",")) : new ArrayList<>();
    try {
      byte[] resource = Files.readAllBytes(Path.of(parts[0]));
      OperationOutcome outcome = engine.validate(resource, FhirFormat.JSON, profiles, new ArrayList<>());
      List<String> issues = new ArrayList<>();
      for (OperationOutcomeIssueComponent issue : outcome.getIssue()) {
        String place = issue.getExpression().isEmpty() ? "" : issue.getExpression().get(0).getValue();
        issues.add("[" + String.join(",", quoted(issue.getSeverity().toCode()),
            quoted(issue.getCode().toCode()), quoted(place), quoted(issue.getDetails().getText())) + "]");
      }
      return "\"issues\":[" + String.join(",", issues) + "]";
    } catch (Throwable fault) {
      return "\"crash\":" + quoted(fault.toString());
    }
  }

  private static String quoted(String text) {
    if (text == null) {
      return "null";
    }
    StringBuilder out = new StringBuilder("\"");
    for (char sign : text.toCharArray()) {
      if (sign == '"' || sign == '\\') {
        out.append('\\').append(sign);
      } else if (sign < ' ') {
        out.append(String.format("\\u%04x", (int) sign));
      } else {
        out.append(sign);
      }
    }
    return out.append('"').toString();
  }
}
