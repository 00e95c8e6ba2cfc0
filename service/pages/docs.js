// Show the contract of the service that served this page. Nothing is asked of any other host.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  syntaxHighlight: false,
  onComplete: () => {
    // The admin listener serves its contract too, but no other page.
    const { paths } = window.ui.specSelectors.specJson().toJS();
    document.getElementById("pages").hidden = !("/v1/rerank" in paths);
  },
});
