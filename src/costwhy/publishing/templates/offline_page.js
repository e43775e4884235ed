// Draws each chart into the element of its name; data-drawn on <html> says that all are there.
const drawn = [];
for (const [id, spec] of Object.entries(charts)) {
  const element = document.getElementById(id);
  if (element) drawn.push(vegaEmbed(element, spec, { renderer: "svg", actions: false }));
}
Promise.all(drawn).then(() => {
  document.documentElement.dataset.drawn = drawn.length;
});
