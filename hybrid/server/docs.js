// The OpenAPI document in, a page to read out.
const said = await (await fetch("/openapi.json")).json();
const at = location.origin;
const byId = id => document.getElementById(id);

byId("about").textContent = said.info.description;
byId("shell").textContent = `curl -F file=@photo.jpg ${at}/predict\ncurl -F files=@a.jpg -F files=@b.jpg ${at}/predict\ncurl -F file=@photo.jpg ${at}/explain -o heat.jpg`;
byId("python").textContent = [
  "import requests",
  "",
  'with open("photo.jpg", "rb") as file:',
  `    answer = requests.post("${at}/predict", files={"file": file})`,
  'print(answer.json()["predictions"][0]["label"])',
].join("\n");
for (const [path, methods] of Object.entries(said.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const fields = Object.entries(operation.requestBody?.content["multipart/form-data"].schema.properties ?? {});
    byId("paths").append(
      element("h3", `${method.toUpperCase()} ${path}`),
      element("p", operation.description ?? operation.summary),
      list(fields.map(([name, { description }]) => `Field ${name}: ${description}`)),
      list((operation.parameters ?? []).map(({ name, description }) => `In the address, ?${name}=…: ${description}`)),
      list(Object.entries(operation.responses).map(([status, { description }]) => `${status}: ${description}`)),
    );
  }
}

function list(lines) {
  const made = document.createElement("ul");
  made.append(...lines.map(line => element("li", line)));
  return lines.length ? made : "";
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}
