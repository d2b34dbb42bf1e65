//! `[[route]]`: filters, templates, and which source each is for.

use super::{Origin, Route, file, problem::What, reader::Setting, resolve::Resolver};
use crate::route::{Filter, Template, TemplateError};

/// Most routes of one process; pairs of them are compared.
pub(super) const MAX_ROUTES: usize = 1_024;
const _: () = assert!(MAX_ROUTES < crate::message::RouteId::NONE.0 as usize);

/// What a route reads: as much of it as sources need to know.
struct Reads {
    /// Index of the only source; `None` is every source.
    source: Option<usize>,
    filter: Filter,
    from: Origin,
}

/// The routes, where some may have problems.
pub(super) struct Routes {
    reads: Vec<Option<Reads>>,
    routes: Vec<Option<Route>>,
}

/// A filter that a source has to subscribe to, and where it is written.
pub(super) struct Wanted<'a> {
    pub(super) filter: &'a Filter,
    pub(super) from: &'a Origin,
    pub(super) route: usize,
}

impl Routes {
    /// Resolves all routes. `names` are those of the sources, in order.
    pub(super) fn resolve(tables: &[Setting<file::Route>], names: &[Option<&str>], resolver: &Resolver<'_>) -> Routes {
        let reads: Vec<_> = tables.iter().map(|table| reads(table, names, resolver)).collect();
        let routes = tables.iter().zip(&reads).map(|(table, reads)| route(table, reads.as_ref(), resolver)).collect();
        let routes = Routes { reads, routes };
        routes.note_shadowed(tables, resolver);
        routes
    }

    /// What a source has to read; `None` where that is not known because a route has a problem.
    pub(super) fn of(&self, source: usize) -> Option<Vec<Wanted<'_>>> {
        let mut wanted = Vec::new();
        for (route, reads) in self.reads.iter().enumerate() {
            let Reads { source: only, filter, from } = reads.as_ref()?;
            if only.is_none_or(|only| only == source) {
                wanted.push(Wanted { filter, from, route });
            }
        }
        Some(wanted)
    }

    /// The routes, if all are well.
    pub(super) fn into_settings(self) -> Option<Vec<Route>> {
        self.routes.into_iter().collect()
    }

    /// The first match wins, so a route behind a wider one has nothing to do.
    fn note_shadowed(&self, tables: &[Setting<file::Route>], resolver: &Resolver<'_>) {
        for (index, reads) in self.reads.iter().enumerate() {
            let Some(reads) = reads else { continue };
            let wider = self.reads[..index].iter().flatten().find(|earlier| {
                (earlier.source.is_none() || earlier.source == reads.source) && earlier.filter.covers(&reads.filter)
            });
            if let (Some(wider), Some(route)) = (wider, tables[index].get()) {
                let text = format!(
                    "no message comes here, because `{}` of the route at {} takes all of `{}`, and the first match wins; put the narrower first",
                    wider.filter, wider.from, reads.filter
                );
                resolver.note(&route.from, &text);
            }
        }
    }
}

/// Resolves source and filter.
fn reads(table: &Setting<file::Route>, names: &[Option<&str>], resolver: &Resolver<'_>) -> Option<Reads> {
    let route = table.get()?;
    let filter = resolver
        .needed(table, &route.from, "from", "the MQTT topics to take, such as from = \"ais/{mmsi}/{kind...}\"")
        .and_then(|text| Filter::parse(text).map_err(|error| resolver.problem(&route.from, &error.into())).ok());
    let source = match route.source.get() {
        None if route.source.is_absent() => Some(None),
        None => None,
        Some(name) => match names.iter().position(|known| *known == Some(name)) {
            Some(index) => Some(Some(index)),
            None => {
                let known = names.iter().flatten().map(|&name| name.to_owned()).collect();
                resolver.problem(&route.source, &What::UnknownSource { name: name.clone(), known });
                None
            }
        },
    };
    Some(Reads { source: source?, filter: filter?, from: resolver.place(&route.from).1 })
}

/// Resolves the rest of a route.
fn route(table: &Setting<file::Route>, reads: Option<&Reads>, resolver: &Resolver<'_>) -> Option<Route> {
    let route = table.get()?;
    let topic = resolver.needed(table, &route.topic, "topic", "the Kafka topic, such as topic = \"ais\"");
    let Reads { source, filter, .. } = reads?;
    let template = |setting: &Setting<String>, text: &str, check: fn(&Template) -> Result<(), TemplateError>| {
        let tell = |error: TemplateError| resolver.problem(setting, &error.into());
        let template = Template::parse(text, filter).map_err(tell).ok()?;
        check(&template).unwrap_or_else(tell);
        Some(template)
    };
    let topic = topic.and_then(|text| template(&route.topic, text, Template::check_topic));
    let key = route.key.get().and_then(|text| template(&route.key, text, Template::check_key));
    Some(Route {
        source: *source,
        from: filter.clone(),
        topic: topic?,
        key: key?,
        owner: route.owner.get()?.0,
        empty: route.empty.get()?.0,
        headers: route.headers.get()?.0,
    })
}
